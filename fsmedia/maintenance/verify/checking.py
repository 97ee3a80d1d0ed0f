"""Looking at a window of media: sidecars are read together, and bytes where a deep look is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fsmedia.core import promptkit, records
from fsmedia.errors import CorruptSidecarError, MediaError
from fsmedia.format import keys, wav
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.verify import contents
from fsmedia.maintenance.verify.adoption import adopt
from fsmedia.maintenance.verify.ground import Fact, Ground, Outcome
from fsmedia.maintenance.verify.leftovers import lone_bytes
from fsmedia.maintenance.verify.mending import Mender
from fsmedia.models import mime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fsmedia.maintenance.verify.contents import Content
    from fsmedia.maintenance.verify.survey import Pair

_DIGEST_LENGTH = 64


def check_window(ground: Ground, pairs: Sequence[Pair]) -> Outcome:
    """Look at what lies at some names, and mend it where that is asked for."""
    ground.check_process()
    checker = _Checker(ground)
    known = [pair for pair in pairs if records.is_reference(pair.reference)]
    for pair in pairs:
        if not records.is_reference(pair.reference):
            detail = "no reference can name it, so no store can use it"
            checker.outcome.find("foreign", pair.reference, detail, harmless=True)
    media = [pair for pair in known if pair.sidecar is not None]
    sidecars = records.read_sidecars(ground.backend, [pair.reference for pair in media])
    read = _read(ground, media)
    for pair, data in zip(media, sidecars, strict=True):
        checker.guarded(pair.reference, partial(checker.media, pair, data, read.get(pair.reference)))
    alone = [pair for pair in known if pair.sidecar is None]
    lone_bytes(ground, [pair.data for pair in alone if pair.data and keys.is_own_name(pair.reference)], checker.outcome)
    adopt(ground, [pair.data for pair in alone if pair.data and not keys.is_own_name(pair.reference)], checker.outcome)
    return checker.outcome


def _read(ground: Ground, media: Sequence[Pair]) -> dict[str, Content | MediaError | None]:
    """Read the bytes of plain media; shared ones are read once, and not here."""
    if not ground.deep:
        return {}
    entries = [pair.data for pair in media if pair.data is not None and keys.pointer_of(pair.reference) is None]
    return dict(zip([each.key for each in entries], contents.read_many(ground.backend, entries), strict=True))


class _Checker:
    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.outcome = Outcome()
        self.mender = Mender(ground, self.outcome)

    def guarded(self, key: str, act: Callable[[], None]) -> None:
        """Act; what goes wrong with one media is told, and the next comes."""
        try:
            act()
        except MediaError as error:
            self.outcome.fail(key, error)

    def media(self, pair: Pair, data: bytes | MediaError | None, read: Content | MediaError | None) -> None:
        """Look at one media."""
        if isinstance(data, MediaError):
            raise data
        if data is None:
            return  # deleted since it was listed
        reference, pointer = pair.reference, keys.pointer_of(pair.reference)
        if pointer is None and pair.data is None:
            self.mender.missing_bytes(pair)
            return
        self.outcome.media += 1
        if pointer is not None and pair.data is not None:
            self.outcome.find("foreign", reference, "bytes lie at a name whose bytes lie elsewhere", harmless=True)
        size = pointer.size if pointer is not None else pair.data.size if pair.data is not None else 0
        self.outcome.bytes += size
        modified = None if pair.data is None else pair.data.modified
        try:
            sidecar = Sidecar.parse(data, reference)
            sidecar.record(reference, size)
            fact = self._fact(sidecar, reference, modified)
        except CorruptSidecarError as error:
            self.mender.broken_sidecar(pair, data, error)
            return
        self.outcome.facts.append(fact)
        self._type(pair, sidecar, data)
        if pointer is None:
            self._bytes(pair, sidecar, data, read)
        elif sidecar.values.get("size_bytes") != size:
            wrong = CorruptSidecarError("its sidecar speaks of other bytes than its name (another size)")
            self.mender.broken_sidecar(pair, data, wrong)

    def _fact(self, sidecar: Sidecar, reference: str, modified: datetime | None) -> Fact:
        """Return what else there must be.

        Raises
        ------
        CorruptSidecarError
            The sidecar is not the one that a deduplicated name speaks of.
        """
        instant = records.expiry_of(sidecar, reference, self.ground.configuration, modified)
        fact = Fact(reference, None if instant is None else keys.due_key(instant, reference))
        if keys.pointer_of(reference) is not None:
            if not sidecar.agrees(reference):
                raise CorruptSidecarError("its sidecar speaks of other bytes than its name")
            fact.marker = sidecar.marker(reference)
            if fact.marker is None:
                raise CorruptSidecarError("its sidecar names no marker of its own")
        return fact

    def _bytes(self, pair: Pair, sidecar: Sidecar, data: bytes, read: Content | MediaError | None) -> None:
        """Compare size, and in a deep look digest and type, of a plain media."""
        entry, values = pair.data, sidecar.values
        if entry is None:
            return
        said, digest = values.get("size_bytes"), values.get("sha256")
        wrong_size = said != entry.size and not (digest is None and _is_promptkits(values, entry.size))
        if isinstance(read, MediaError):
            raise read
        if read is not None:
            self.outcome.bytes_read += read.size
            wanted = digest or _promptkit_digest(pair.reference)
            if wanted is not None and read.sha256 != wanted:
                detail = f"its bytes have another digest than its {'sidecar' if digest else 'name'} says"
                if wrong_size:
                    detail += f", and another size: {entry.size} for {said}"
                self.mender.wrong_bytes(pair, data, "size" if wrong_size else "digest", detail, read)
                return
        if wrong_size:
            detail = f"it has {entry.size} bytes, and its sidecar says {said}"
            self.mender.wrong_bytes(pair, data, "size", detail, read)
        elif read is not None:
            mime_type = promptkit.mime_type_of(str(values.get("mime_type") or ""), pair.reference)
            if mime.agrees(mime_type, read.head) != values.get("detected_mime_type"):
                self.mender.wrong_type(pair, data, read.head)

    def _type(self, pair: Pair, sidecar: Sidecar, data: bytes) -> None:
        """Compare the type with the extension, which a store of ours made of it; bytes are read only where they differ.

        The table of extensions may have been another one when it was stored, so a difference alone is nothing.
        """
        own = keys.parse_own_name(pair.reference)
        if own is None or (self.ground.deep and keys.pointer_of(pair.reference) is None):
            return
        named = mime.guess_from_name(keys.file_name(pair.reference))
        said = mime.extension_for(str(sidecar.values.get("mime_type") or ""))
        if named is not None and said != mime.extension_for(named):
            self.mender.wrong_type(pair, data)


def _is_promptkits(values: dict[str, Any], size: int) -> bool:
    """Tell whether a size is as PromptKit writes it: 0, or that of raw sound without the header that it put before."""
    said = values.get("size_bytes")
    return not said or (wav.is_raw(str(values.get("mime_type") or "")) and said + wav.HEADER_BYTES == size)


def _promptkit_digest(reference: str) -> str | None:
    """Return the digest that a name of PromptKit's deduplication is; None for other names."""
    stem = reference.rpartition("/")[2].partition(".")[0]
    return stem if len(stem) == _DIGEST_LENGTH and not set(stem) - set("0123456789abcdef") else None
