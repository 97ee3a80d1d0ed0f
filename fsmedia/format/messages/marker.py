"""The text that stands where a media stood: `media://<reference>#fsmedia=1;sha256=<digest>;as=<spelling>`.

A data: URL's head follows as `;head=data:image/png;base64`. It says all that is needed to write the old text again:
which bytes, proved by their digest, and how they were spelled. Whatever takes a reference takes this text too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fsmedia.format.messages.encoding import SPELLING

_HEAD = r"data:[!-\"$-+\--~]{0,250};base64"  # printable ASCII but comma and hash, so that nothing is read two ways
_MARKER = re.compile(
    rf"media://(?P<reference>.+)#fsmedia=1;sha256=(?P<digest>[0-9a-f]{{64}});as=(?P<spelling>{SPELLING.pattern})"
    rf"(?:;head=(?P<head>(?i:{_HEAD})))?",
    re.DOTALL,
)
HEAD = re.compile(_HEAD, re.IGNORECASE)


class Marker(NamedTuple):
    """What such a text says.

    Attributes
    ----------
    digest
        SHA-256 of the bytes that were taken out, as they were in the message.
    head
        Of a data: URL, up to its comma; None where the text was base64 alone.
    """

    reference: str
    digest: str
    spelling: str
    head: str | None = None

    def __str__(self) -> str:
        head = "" if self.head is None else f";head={self.head}"
        return f"media://{self.reference}#fsmedia=1;sha256={self.digest};as={self.spelling}{head}"

    @classmethod
    def parse(cls, text: str) -> Marker | None:
        """Read one; None for every other text."""
        if not text.startswith("media://") or "#fsmedia=1;" not in text:
            return None
        found = _MARKER.fullmatch(text)
        if found is None:
            return None
        marker = cls(found["reference"], found["digest"], found["spelling"], found["head"])
        return marker if str(marker) == text else None
