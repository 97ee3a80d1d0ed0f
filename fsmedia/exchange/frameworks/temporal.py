"""Temporal's external storage, which is experimental there: large payloads of workflows and activities are media.

A payload is `temporal/<namespace>/<workflow or activity>/<run>/<digest>`: its bytes as Temporal serializes them.
"""

from __future__ import annotations

from asyncio import gather, to_thread
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriver, StorageDriverClaim

from fsmedia.errors import CorruptMediaError, InvalidReferenceError
from fsmedia.exchange import frameworks
from fsmedia.models import MediaMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext

_IDS = {"namespace": 80, "id": 200, "run_id": 60}  # bytes of each in a path
_FOLDER = "temporal/"
_TYPE = "application/x-protobuf"


class FsmediaStorageDriver(StorageDriver):
    """Payloads in a store, which `place` and `settings` name as `frameworks.opened` says; see `ExternalStorage`.

    `driver_name`: what histories name it by, for more than one. The same payload of the same run is stored once, and
    stored again it lives as long again. A retention policy must be longer than the histories that need the payloads.
    """

    def __init__(self, place: Any = None, *, driver_name: str = "fsmedia", **settings: Any) -> None:
        self.store_of_payloads = frameworks.opened(place, **settings)
        self._name = driver_name

    def name(self) -> str:
        """Return the name that histories have it under."""
        return self._name

    def type(self) -> str:
        """Return the kind of driver."""
        return "fsmedia"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Store payloads and return where each is."""
        return await gather(*(to_thread(self._store, context.target, payload) for payload in payloads))

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Return payloads; `MediaNotFoundError` where one was deleted, or its retention policy let it go."""
        del context
        return await gather(*(to_thread(self._retrieve, claim) for claim in claims))

    def _store(self, target: Any, payload: Payload) -> StorageDriverClaim:
        data = payload.SerializeToString(deterministic=True)
        digest, ids = sha256(data).hexdigest(), {name: getattr(target, name, None) or "" for name in _IDS}
        folder = "/".join(frameworks.folder_name(ids[name], limit) for name, limit in _IDS.items())
        own = {**ids, "type": getattr(target, "type", None) or "", "of": type(target).__name__}
        attributes = frameworks.as_attributes({}, "temporal.", **{name: value for name, value in own.items() if value})
        content, metadata = frameworks.content_of(data, _TYPE), MediaMetadata(attributes=attributes)
        path = frameworks.store_once(self.store_of_payloads, content, metadata, f"{_FOLDER}{folder}/{digest}")
        return StorageDriverClaim({"reference": path, "sha256": digest})

    def _retrieve(self, claim: StorageDriverClaim) -> Payload:
        reference, digest = claim.claim_data.get("reference", ""), claim.claim_data.get("sha256")
        # Whoever writes a history writes claims: of the store they may read payloads alone.
        if not reference.startswith(_FOLDER):
            raise InvalidReferenceError("is no payload of Temporal", next_step="look who wrote it", reference=reference)
        data = self.store_of_payloads.read(reference)
        if sha256(data).hexdigest() != digest:
            problem = "holds other bytes than the history says"
            raise CorruptMediaError(problem, next_step="look who wrote it", reference=reference)
        return Payload.FromString(data)
