"""Media that were set aside, known by whatever stands for them: a reference, the one before it, a digest. Pure."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from fsmedia import keys
from fsmedia.erasure.subject import names_another, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fsmedia.quarantine import SetAside


class Names:
    """Some media, to be looked for in quarantine."""

    def __init__(self, references: Iterable[str]) -> None:
        self._names = {name for each in references for name in (each, keys.plain_reference(each)) if name is not None}

    @cached_property
    def _digests(self) -> set[str]:
        """Of references, as in a hold's key, and of all keys that may have been too long for quarantine."""
        spelled = (key for each in self._names for key in (each, keys.sidecar_key(each), keys.hold_key(each)))
        return {sha256(each.encode(errors="surrogatepass")).hexdigest() for each in spelled}

    def stand_for(self, aside: SetAside) -> bool:
        """Tell whether something that was set aside is one of the media's."""
        if not self._names:
            return False
        return not self._names.isdisjoint(aside.references) or (
            bool(aside.digests) and not self._digests.isdisjoint(aside.digests)
        )


def is_anothers(words: Mapping[str, str], aside: SetAside) -> bool:
    """Tell whether a sidecar that was set aside names somebody else: a name may have been others' before."""
    texts = ((media, aside.texts.get(key)) for key, media in aside.sidecars.items())
    return any(data is not None and names_another(words, told(data, media)[0]) for media, data in texts)
