"""What taking media out of messages did: where they stood, which references stand there now. Pure."""

from __future__ import annotations

from typing import NamedTuple

from fsmedia.models.base import Model


class TakenOut(NamedTuple):
    """One place in a document where a media stood; a plain tuple, for there may be many."""

    where: str
    """`$.messages[3].content[1].source.data`"""
    reference: str
    """Empty in a dry run."""
    mime_type: str
    size_bytes: int
    sha256: str


class Externalized(Model):
    """JSON text with references in the place of its media."""

    text: str
    """The same text as before but for the media; in a dry run the text as it was."""
    dry_run: bool = False
    taken_out: tuple[TakenOut, ...] = ()
    """In the order of the text; the same media in two places has one reference."""
    already: int = 0
    """Places where such a reference stood before."""
    kept: tuple[str, ...] = ()
    """Places whose base64 stays: too small, or spelled so that it could not be put back as it is."""

    @property
    def bytes_taken(self) -> int:
        """Bytes of the media, each once."""
        return sum({each.sha256: each.size_bytes for each in self.taken_out}.values())

    def __str__(self) -> str:
        verb = "would take out" if self.dry_run else "took out"
        return f"{verb} {len(self.taken_out)} media ({self.bytes_taken} bytes), {self.already} were references already"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"
