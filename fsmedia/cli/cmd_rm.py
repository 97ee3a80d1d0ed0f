"""`fsmedia rm`: delete media; deleting what is gone succeeds, and says so."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from fsmedia.cli import app, output
from fsmedia.errors import CorruptSidecarError, HeldMediaError, MediaNotFoundError
from fsmedia.store import MediaStore

HELP = """Which: references, or conditions, which mean no files of other programs. What is not there any more is no
error; what is held stays, see `fsmedia policy release`. It asks first where more than one is meant. To erase all traces
of a person, with a proof: `fsmedia erase`.

Examples:
  fsmedia rm runs/r1/0003_01_u01m8.png
  fsmedia rm --run r1 --mime 'image/*' --dry-run
  fsmedia rm --until 90d --yes
"""


def rm(
    *,
    choice: app.Choice,
    dry_run: app.DryRun = False,
    yes: app.Yes = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Delete media."""

    def delete(reference: str) -> None:
        there = not choice.references or _is_there(opened, reference)
        if dry_run:
            _refuse_held(opened, reference)
        else:
            opened.delete_media(reference)
        if as_json:
            output.json_line({"reference": reference, "there": there, "deleted": there and not dry_run})
        else:
            word = "not there" if not there else "would delete" if dry_run else "deleted"
            output.line(f"{word}  {output.visible(reference)}")

    with location.open_existing(read_only=dry_run) as opened:
        references = choice.find(opened)
        if len(references) > 1 and not (yes or dry_run):
            app.confirm(f"Delete {len(references):,} media from {opened.url}?")
        app.each_media(references, delete, "deleting")


def _is_there(opened: MediaStore, reference: str) -> bool:
    """Tell whether there is such a media; a folder is refused, also where nothing would be deleted."""
    if opened.exists(reference):
        return True
    try:
        opened.info(reference)
    except MediaNotFoundError:
        return False
    return True


def _refuse_held(opened: MediaStore, reference: str) -> None:
    """Raise in a dry run what the deletion would raise."""
    try:
        record = opened.info(reference)
    except (MediaNotFoundError, CorruptSidecarError):
        return
    if record.hold is not None:
        raise HeldMediaError(f"is held: {record.hold!r}", next_step="release it first", reference=record.reference)
