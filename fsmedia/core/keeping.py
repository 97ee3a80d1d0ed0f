"""How long one media stays: its policy, its hold and their end. Writes sidecars, due entries and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.core import commit, holds, records
from fsmedia.errors import InvalidMediaError, MediaNotFoundError
from fsmedia.format import keys
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar

if TYPE_CHECKING:
    from fsmedia.core.draft import Desk
    from fsmedia.format.configuration import Configuration
    from fsmedia.models import Hold
    from fsmedia.storage import Backend


def apply_policy(desk: Desk, key: str, policy_name: str | None) -> None:
    """Put a media under a policy, from its timestamp on; None keeps it for ever.

    Raises
    ------
    UnknownPolicyError
        The name means nothing here; nothing was written.
    InvalidMediaError
        The media has no sidecar that could hold a policy.
    """
    if policy_name is not None and not isinstance(policy_name, str):
        raise InvalidMediaError(f"a policy is given by its name, not by {type(policy_name).__name__}")
    policy = None if policy_name is None else find_policy(policy_name, desk.configuration.policies)
    with commit.about(key):
        found = records.find(desk.backend, key)
        if found.sidecar is None:
            raise InvalidMediaError(
                "has no sidecar to keep a policy in: another program wrote it",
                next_step="write it through media:// first, or store a copy",
            )
        sidecar = Sidecar.parse(found.sidecar, key)
        timestamp = sidecar.retention(key).timestamp
        now = desk.now()
        instant = expires_at(policy, timestamp or now)
        # PromptKit's zero time: the policy counts from now on, and the sidecar says so.
        started = now if timestamp is None and instant is not None else None
        desk.settle(key, desk.configuration)
        changed = sidecar.with_policy(policy_name, instant, started)
        commit.rewrite_sidecar(desk.backend, key, changed.dump(), instant, sidecar.marker(key))


def hold(desk: Desk, hold: Hold) -> None:
    """Place a hold on a media that is there, and look that it still is.

    Raises
    ------
    MediaNotFoundError
        There is no such media, or somebody deleted it meanwhile.
    """
    backend, key = desk.backend, str(hold.reference)
    with commit.about(key):
        records.find(backend, key)
        desk.settle(key, desk.configuration)
        holds.place(backend, hold)
        try:
            records.find(backend, key)
        except MediaNotFoundError:
            for error in backend.delete([keys.hold_key(key)]).values():
                raise error from None
            raise


def release(backend: Backend, configuration: Configuration, key: str) -> bool:
    """Take the hold from a media; False if there was none, and nothing to do.

    A sweep that met the hold has moved the due entry to the next day, so it is put back at its minute first.
    """
    with commit.about(key):
        sidecar, hold = backend.fetch(reads=[keys.sidecar_key(key), keys.hold_key(key)]).reads
        if hold is None:
            return False
        instant = None if sidecar is None else records.expiry_or_none(sidecar, key, configuration)
        if instant is not None:
            backend.write(keys.due_key(instant, key), b"", commit.DUE_TYPE)
        for error in backend.delete([keys.hold_key(key)]).values():
            raise error
    return True
