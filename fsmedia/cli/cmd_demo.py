"""`fsmedia demo`: store, list and read back a small run, and show what to type next.

Every run of it stores a run of its own, so it can be repeated anywhere. It never takes the store of the environment.
"""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import typer
from rich.text import Text

from fsmedia.cli import app, output
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent, MediaMetadata
from fsmedia.models.text import size_text
from fsmedia.store import MediaStore, utc_now

HELP = """It goes to ./fsmedia-demo, or where `--store` says, and the gallery to ./fsmedia-demo.html; $FSMEDIA_URL is
not looked at, so that no demo lands in your own store by accident. Repeat it as often as you like: each time is a new
run.

Examples:
  fsmedia demo
  fsmedia demo --store s3://bucket/media --option endpoint_url=http://localhost:9000
"""

DEMO_URL = "./fsmedia-demo"
DEMO_PAGE = Path("fsmedia-demo.html")
_MEMORY = "memory:"
_CONVERSATION = "kitchen-garden"
_PROVIDER = "fsmedia-demo"
_READ_BACK = "image/png"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# A talk about a kitchen garden: file, MIME type, message, part, caption. The files lie beside this one, in demo/.
_SAMPLES = (
    ("evening.jpg", "image/jpeg", 0, 0, "The field behind the house at dusk: could there be a kitchen garden here?"),
    ("plan.png", "image/png", 1, 0, "A plan with six beds of 1.2 x 2.4 m and paths wide enough for a barrow."),
    ("calendar.pdf", "application/pdf", 1, 1, "When to sow and when to pick, and what to do month by month."),
    ("shopping.md", "text/markdown", 3, 0, "What to buy before March."),
    ("chime.wav", "audio/wav", 5, 0, "The chime that reminds you to water."),
)


@dataclass(frozen=True)
class Sample:
    """A media of the demo's run."""

    file_name: str
    mime_type: str
    message_idx: int
    part_idx: int
    caption: str
    data: bytes


def sample_run() -> list[Sample]:
    """Read the media of the demo's run, some 400 KB."""
    folder = files("fsmedia.cli") / "demo"
    return [Sample(*facts, (folder / facts[0]).read_bytes()) for facts in _SAMPLES]


def demo(context: typer.Context, *, as_json: app.AsJson = False, location: app.Store) -> None:
    """Show what it does."""
    if location.url is None:
        location = app.StoreLocation(DEMO_URL, location.options)
    samples = sample_run()
    printer = _StepPrinter(program=context.find_root().info_name or "fsmedia", quiet=as_json or output.is_quiet())
    run = run_name(utc_now())
    before = location.read_settings()
    with location.open() as opened:
        opened.create()
        printer.step(f"The store is {opened.url}", "new" if before is None else "it was there already")
        references = [opened.store_media(*_media(sample, run)) for sample in samples]
        size = size_text(sum(len(sample.data) for sample in samples))
        printer.step(f"Stored the run {run}", f"{len(samples)} media, {size}")
        found = list(opened.list(run_id=run))
        if sorted(found) != sorted(references):
            raise app.CommandError(
                f"the store lists {len(found)} media of the run, not the {len(references)} just stored"
            )
        printer.step("Listed it", f"{len(found)} references, each all you need to keep")
        printer.media(dict(zip(map(str, references), samples, strict=True)))
        chosen = next(index for index, sample in enumerate(samples) if sample.mime_type == _READ_BACK)
        sha256 = _read_back(opened, references[chosen], samples[chosen])
        printer.step(f"Read back {samples[chosen].file_name}", f"{len(samples[chosen].data):,} bytes, sha256 ok")
        printer.line("  " + sha256, style="dim")
        page = _gallery(opened, run)
        printer.next_steps(location, opened, run, references[chosen], samples[chosen].file_name)
        if page is not None:
            printer.line("The gallery of this run, to open in a browser:", style="bold")
        if page is not None and not as_json:
            output.line(str(page.resolve()))
        printer.offer_page(location, opened)
        if as_json:
            told = {"url": opened.url, "created": before is None, "run_id": run, "references": references}
            told |= {"read_back": {"reference": references[chosen], "sha256": sha256}}
            output.json_line({**told, "gallery": None if page is None else str(page.resolve())})


def run_name(now: datetime) -> str:
    """Return a name for the run of this instant: its day, and the millisecond of that day in six characters."""
    rest = int((now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() * 1000)
    text = ""
    for _ in range(6):
        rest, digit = divmod(rest, len(_DIGITS))
        text = _DIGITS[digit] + text
    return f"demo-{now:%Y%m%d}-{text}"


def _media(sample: Sample, run: str) -> tuple[MediaContent, MediaMetadata]:
    """Return a sample as media, with every id, so that it can be stored whatever the store is organized by."""
    return (
        MediaContent.from_bytes(sample.data, sample.mime_type, caption=sample.caption),
        MediaMetadata(
            run_id=run,
            conversation_id=_CONVERSATION,
            session_id=run,
            message_idx=sample.message_idx,
            part_idx=sample.part_idx,
            provider_id=_PROVIDER,
        ),
    )


def _gallery(opened: MediaStore, run: str) -> Path | None:
    """Write a gallery of the run into the current folder; None where what draws it is not installed."""
    try:
        with output.count_progress("making previews", len(_SAMPLES)) as meter:
            return opened.gallery(run_id=run, progress=meter.reach).save(DEMO_PAGE)
    except MediaError as error:
        output.note(f"no gallery: {output.error_text(error)}")
        return None


def _read_back(opened: MediaStore, reference: str, sample: Sample) -> str:
    """Read a media and return its digest; refuse bytes, and a note of the store, that are not what was stored."""
    digest = hashlib.sha256()
    with opened.retrieve_media(reference).open() as file:
        while data := file.read(2**20):
            digest.update(data)
    read, noted, wanted = digest.hexdigest(), opened.info(reference).sha256, hashlib.sha256(sample.data).hexdigest()
    if not read == noted == wanted:
        raise app.CommandError(
            f"{reference}: the sha256 is wrong: {wanted[:16]}... was stored, {str(noted)[:16]}... is noted, "
            f"{read[:16]}... was read"
        )
    return read


class _StepPrinter:
    """Prints the steps of the demo; quiet where a program reads standard output."""

    def __init__(self, *, program: str, quiet: bool) -> None:
        self._program = program
        self._screen = output.Screen()
        self._screen.quiet = quiet
        self._number = 0

    def step(self, what: str, how: str) -> None:
        """Print a step that is done."""
        self._number += 1
        self.line(
            Text.assemble((f"{self._number} ", "bold cyan"), (output.visible(what), "bold"), f": {output.visible(how)}")
        )

    def line(self, text: str | Text, style: str = "") -> None:
        """Print a line; the terminal folds it, so that it can be copied whole."""
        self._screen.print(text, soft_wrap=True, style=style)

    def media(self, stored: Mapping[str, Sample]) -> None:
        """Print what was stored, two lines for each."""
        self.line("")
        for reference, sample in stored.items():
            self.line("  " + output.visible(reference), style="green")
            facts = f"    {sample.mime_type:<16} {size_text(len(sample.data)):>10}  "
            room = self._screen.width - len(facts)
            caption = sample.caption if len(sample.caption) <= room else f"{sample.caption[: room - 3]}..."
            self.line(Text.assemble(facts, (caption, "dim")))
        self.line("")

    def next_steps(
        self, location: app.StoreLocation, opened: MediaStore, run: str, reference: str, file_name: str
    ) -> None:
        """Print commands that work when they are pasted."""
        self.line("")
        if opened.url.startswith(_MEMORY):
            self.line("What is in memory goes with this command; try a folder: fsmedia demo --store ./fsmedia-demo")
            return
        at = _words_for(location, opened)
        target = file_name if not Path(file_name).exists() else f"{run}-{file_name}"
        self.line("Try next:", style="bold")
        for command in (
            f"ls {at} --long",
            f"ls {at} --run {run} --mime 'image/*'",
            f"info {at} {shlex.quote(reference)}",
            f"get {at} {shlex.quote(reference)} -o {target}",
            f"store {at} --run my-run {target}",
        ):
            self.line(f"  {self._program} {command}", style="cyan")
        if location.options:
            self.line("with the same --option as here: they may be secret, so they are not repeated.", style="dim")

    def offer_page(self, location: app.StoreLocation, opened: MediaStore) -> None:
        """Print, as the last line, how to look through the whole store."""
        if not opened.url.startswith(_MEMORY):
            self.line(f"To look through all of it: {self._program} browse {_words_for(location, opened)}", style="bold")


def _words_for(location: app.StoreLocation, opened: MediaStore) -> str:
    """Return the words that name the store of a demo, as a shell takes them."""
    return f"--store {shlex.quote(DEMO_URL if location.url == DEMO_URL else opened.url)}"
