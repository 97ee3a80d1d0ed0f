"""`fsmedia annotate`: change what is written down of media: attributes, caption, provider, file name."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.core.parallel import windows
from fsmedia.errors import BulkError, MediaError
from fsmedia.models import AttributeValue, MediaRecord
from fsmedia.models.attributes import parse_value
from fsmedia.store import MediaStore

HELP = """Which: references, or the conditions of `fsmedia ls`, `-a` among them. It asks first where more than one is
meant. What is held may be annotated too.

Values of `--set` are those of `fsmedia store -a`: 5, 4.5, true and false are no texts, '"5"' is one, '["a", "b"]' is a
list of texts, everything else is text as it stands there; `name=` is an empty text, and `--unset` removes. `--add` and
`--discard` change a list of texts, whoever else changes it at that moment. An empty `--caption`, `--provider-id` or
`--file-name` removes it. `--provider` is a condition, as in all commands.

Examples:
  fsmedia annotate runs/r1/0003_01_u01m8.png --set score=5 --add tags=night
  fsmedia annotate runs/r1/0003_01_u01m8.png --set 'prompt=a cat, at night' --caption "The cat"
  fsmedia annotate --run r1 -a 'score<2' --add tags=bad --dry-run
  fsmedia annotate -a tags=draft --unset draft --discard tags=draft --caption "" --yes
"""
_AT_ONCE = 256
_Words = list[str] | None


def annotate(
    *,
    choice: app.Choice,
    assigned: Annotated[
        _Words,
        typer.Option("--set", metavar="NAME=VALUE", help="Set an attribute: score=5, 'prompt=a cat'; repeatable."),
    ] = None,
    unset: Annotated[_Words, typer.Option(metavar="NAME", help="Remove an attribute; repeatable.")] = None,
    add: Annotated[
        _Words, typer.Option(metavar="NAME=TEXT", help="Add a text to a list: tags=night; repeatable.")
    ] = None,
    discard: Annotated[_Words, typer.Option(metavar="NAME=TEXT", help="Take a text out of a list; repeatable.")] = None,
    caption: Annotated[str | None, typer.Option(metavar="TEXT", help="A text shown with it.")] = None,
    provider_id: Annotated[str | None, typer.Option(metavar="ID", help="Who made it, e.g. openai.")] = None,
    file_name: Annotated[str | None, typer.Option(metavar="NAME", help="What its file is called, for get.")] = None,
    dry_run: app.DryRun = False,
    yes: app.Yes = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Annotate media."""
    if not (assigned or unset or add or discard) and {caption, provider_id, file_name} == {None}:
        raise typer.BadParameter("is missing, as are its like: nothing would change", param_hint="--set")
    attributes = _attributes(assigned, unset)
    words: dict[str, Any] = {"add": _texts(add, "--add"), "discard": _texts(discard, "--discard")}
    facts = {"caption": caption, "provider_id": provider_id, "file_name": file_name}
    words |= {name: text or None for name, text in facts.items() if text is not None}
    touched = dict.fromkeys((*attributes, *words["add"], *words["discard"]))
    verb = "would annotate" if dry_run else "annotated"
    errors: list[MediaError] = []
    with location.open_existing(read_only=dry_run) as opened:
        references = choice.find(opened)
        if len(references) > 1 and not (yes or dry_run):
            app.confirm(f"Annotate {len(references):,} media in {opened.url}?", "nothing was changed")
        worth = len(references) > 1 and not sys.stdout.isatty()
        with output.count_progress("annotating", len(references), worth=worth) as meter:
            for batch in windows(references, _AT_ONCE):
                for answer in _annotated(opened, batch, attributes, {**words, "dry_run": dry_run}):
                    if isinstance(answer, MediaError):
                        output.error(output.error_text(answer))
                        errors.append(answer)
                    elif as_json:
                        output.json_record(answer)
                    else:
                        shown = [
                            output.attribute_text(each, answer.attributes.get(each)) or f"!{each}" for each in touched
                        ]
                        output.line("  ".join((verb, *shown, output.visible(answer.reference))))
                meter.advance(len(batch))
    raise typer.Exit(app.exit_code_of(errors))


def _attributes(assigned: _Words, unset: _Words) -> dict[str, AttributeValue | None]:
    """Return what attributes become; None removes."""
    given: dict[str, AttributeValue | None] = {**app.parse_attributes(assigned, "--set")}
    for name in unset or ():
        if given.setdefault(name, None) is not None:
            raise typer.BadParameter(f"{name!r} is set too: give one of them", param_hint="--unset")
    return given


def _texts(words: _Words, option: str) -> dict[str, list[str]]:
    """Read repeated `NAME=TEXT`, in which a name may come again."""
    found: dict[str, list[str]] = {}
    for word in words or ():
        ((name, text),) = app.parse_pairs([word], option, "NAME=TEXT, e.g. tags=night").items()
        value = parse_value(text)
        found.setdefault(name, []).extend(
            value if isinstance(value, list) else [value if isinstance(value, str) else text]
        )
    return found


def _annotated(
    opened: MediaStore, references: Sequence[str], attributes: dict[str, AttributeValue | None], words: dict[str, Any]
) -> Iterator[MediaRecord | MediaError]:
    """Annotate some media at once; yield the record or the error of each."""
    try:
        yield from opened.annotate(references, attributes, **words)
    except BulkError as error:
        yield from (*error.results.values(), *error.errors.values())
