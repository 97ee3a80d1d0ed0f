"""The words of the command line: durations, instants, KEY=VALUE, read at the door; what can't be meant is refused.

Instants are UTC: what `ls --long` shows can be given back. The values of `--option` are secrets and stand in no text.
"""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from typer.core import TyperGroup

from fsmedia.cli import output
from fsmedia.errors import MediaError, MediaNotFoundError
from fsmedia.format import keys
from fsmedia.format.settings import Configuration
from fsmedia.models import RetentionPolicy
from fsmedia.storage import open_backend
from fsmedia.storage.address import URL_VARIABLE
from fsmedia.store import MediaStore, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PIECE = re.compile(r"(\d{1,12})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)(?![a-z])\s*", re.ASCII)
_FORMS = "a duration such as 90s, 30m, 12h, 2d, 1d12h or 3 weeks"
_FOREVER = {"forever", "for ever", "never"}


def duration(text: str, option: str) -> timedelta:
    """Read a duration.

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    found = _duration(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not {_FORMS}", param_hint=option)
    return found


def _duration(text: str) -> timedelta | None:
    rest = text.strip().lower()
    total = timedelta(0)
    if not rest:
        return None
    while rest:
        piece = _PIECE.match(rest)
        if piece is None:
            return None
        try:
            total += int(piece[1]) * _UNITS[piece[2][0]]
        except OverflowError:
            return None
        rest = rest[piece.end() :]
    return total


def instant(text: str | None, option: str, *, now: datetime, ahead: bool = False) -> datetime | None:
    """Read an instant: ISO 8601, a duration (before now, or `ahead` of it), `2d ago`, `in 2d`, `now`.

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    if text is None:
        return None
    words = text.strip()
    try:
        if words.lower() == "now":
            return now
        for before, after, sign in (("", " ago", -1), ("in ", "", 1), ("", "", 1 if ahead else -1)):
            if words.lower().startswith(before) and words.lower().endswith(after):
                found = _duration(words[len(before) : len(words) - len(after)])
                if found is not None:
                    return now + sign * found
        read = datetime.fromisoformat(words)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither an ISO 8601 time such as 2026-03-04 or 2026-03-04T05:06Z nor {_FORMS}",
            param_hint=option,
        ) from None


def pairs(words: Iterable[str] | None, option: str, form: str) -> dict[str, str]:
    """Read repeated `NAME=VALUE`; the first `=` cuts, and no value is shown.

    Raises
    ------
    typer.BadParameter
        One has no name or no `=`, or a name comes twice.
    """
    found: dict[str, str] = {}
    for word in words or ():
        name, sign, value = word.partition("=")
        name = name.strip()
        if not sign or not name:
            raise typer.BadParameter(f"must be {form}", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = value
    return found


def storage_options(words: Iterable[str] | None) -> dict[str, Any]:
    """Read `--option KEY=VALUE`: a value is JSON if it parses as such, else text."""
    return {name: _value(text) for name, text in pairs(words, "--option", "KEY=VALUE").items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def policies(words: Iterable[str] | None) -> list[RetentionPolicy] | None:
    """Read `--policy NAME=DURATION`; `forever` keeps for ever. None if there are none."""
    given = pairs(words, "--policy", "NAME=DURATION, e.g. audit=365d or legal=forever")
    return [
        RetentionPolicy(
            name=name, keep_for=None if text.strip().lower() in _FOREVER else duration(text, f"--policy {name}")
        )
        for name, text in given.items()
    ] or None


def spelled(seconds: int) -> str:
    """Return a duration as `duration` reads it: `365d`, `1d12h`."""
    text = ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_WHOLE = 4
INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141
CODES = """\
Exit codes: 0 done, 1 failed (the line on standard error says why), 2 wrong usage, 3 no such media or file,
4 the store is not whole (verify), 130 interrupted, 141 the reader of a pipe went away."""


class CommandError(Exception):
    """A command can't go on.

    Parameters
    ----------
    text
        One line for the user.
    code
        The exit code.
    """

    def __init__(self, text: str, *, code: int = FAILED) -> None:
        self.code = code
        super().__init__(text)


def code_of(errors: Iterable[BaseException]) -> int:
    """Return the exit code of a command that met these errors: "not found" only if that was all of it."""
    codes = {error.code if isinstance(error, CommandError) else _code(error) for error in errors}
    return DONE if not codes else codes.pop() if len(codes) == 1 else FAILED


def _code(error: BaseException) -> int:
    return NOT_FOUND if isinstance(error, MediaNotFoundError) else FAILED


def text_of(error: BaseException) -> str:
    """Return what an error says, in one line and without Python's own ornaments."""
    if isinstance(error, OSError) and not isinstance(error, MediaError):
        reason = error.strerror or str(error) or type(error).__name__
        return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"
    return str(error) or type(error).__name__


class Commands(TyperGroup):
    """The group of all commands: what they raise becomes a line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line; exits unless `standalone_mode` is False, as typer's own does."""
        alone = extra.get("standalone_mode", True)
        extra["standalone_mode"] = False
        if not alone:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra)
        except typer.Abort:
            output.note("interrupted")
            code = INTERRUPTED
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            _tell_usage(error)
            code = getattr(error, "exit_code", USAGE)
        sys.exit(code if isinstance(code, int) else DONE)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except typer.BadParameter as error:
            if error.ctx is None:  # raised by a command, not by its parser
                _tell_usage(error, f"{ctx.command_path} {ctx.invoked_subcommand}")
                raise typer.Exit(USAGE) from None
            raise
        except (CommandError, MediaError) as error:
            output.error(text_of(error))
            raise typer.Exit(code_of([error])) from None
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt:
            output.note("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            output.error(text_of(error))
            raise typer.Exit(FAILED) from None
        return result


def _tell_usage(error: Any, command: str = "") -> None:
    """Say in one line what is wrong with the command line, and where it is explained."""
    context = getattr(error, "ctx", None)
    command = command or ("" if context is None else context.command_path)
    text = " ".join(str(error.format_message()).split())
    output.error(f"{text.rstrip('.')}; see: {command} --help" if command else text)


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, or Python would complain about it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_TIMEOUT = timedelta(seconds=60)
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        "-s",
        metavar="URL",
        show_default=False,
        help="The store: a folder, s3://bucket/media, gs://bucket/media, any fsspec URL; else $FSMEDIA_URL.",
    ),
]
StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        show_default=False,
        help="A storage option for fsspec, e.g. endpoint_url=http://localhost:9000; JSON or text; repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document per line, for programs.")]


@dataclass(frozen=True, slots=True)
class Place:
    """A root URL and the options to open it with.

    Attributes
    ----------
    url
        As the user wrote it; None where nothing names a store.
    options
        What fsspec takes; never shown.
    """

    url: str | None = None
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, context: typer.Context, url: str | None, options: list[str] | None) -> Self:
        """Put together what stands before the command and after it."""
        outer = context.obj if isinstance(context.obj, Place) else Place()
        return cls(outer.url if url is None else url, {**outer.options, **storage_options(options)})

    def named(self) -> str:
        """Return the URL, the environment's if the command line has none.

        Raises
        ------
        CommandError
            Nothing names a store.
        """
        if self.url is not None and not self.url.strip():
            raise typer.BadParameter("is empty", param_hint="--store")
        url = self.url or os.environ.get(URL_VARIABLE, "").strip()
        if not url:
            raise CommandError(
                f"no store is named: give --store URL or set {URL_VARIABLE} (to look around first: fsmedia demo)",
                code=USAGE,
            )
        return url

    def open(self, **settings: Any) -> MediaStore:
        """Open the store. A file that a person names is taken whatever its size."""
        return MediaStore(self.named(), storage_options=self.options, max_file_size=None, **settings)

    def settings(self) -> Configuration | None:
        """Return the settings that lie at the root; None where no store was made yet."""
        with open_backend(self.named(), self.options, timeout=_TIMEOUT) as backend:
            data = backend.read(keys.CONFIGURATION_KEY)
        return None if data is None else Configuration.parse(data)


Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="Of this run.")]
Conversation = Annotated[str | None, typer.Option(metavar="ID", help="Of this conversation.")]
Session = Annotated[str | None, typer.Option(metavar="ID", help="Of this session.")]
Provider = Annotated[str | None, typer.Option(metavar="ID", help="Of this provider.")]
Mime = Annotated[str | None, typer.Option(metavar="TYPE", help="Of this type, or pattern: 'image/*'.")]
Policy = Annotated[str | None, typer.Option(metavar="NAME", help="Under this retention policy.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Made at or after: 2026-03-04, 2d.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Made before: 2026-03-04, 12h.")]
ExpiresBefore = Annotated[str | None, typer.Option(metavar="TIME", help="Expires before: 2026-03-04, 2d (from now).")]


def conditions(
    *,
    run: str | None = None,
    conversation: str | None = None,
    session: str | None = None,
    provider: str | None = None,
    mime: str | None = None,
    policy: str | None = None,
    since: str | None = None,
    until: str | None = None,
    expires_before: str | None = None,
) -> dict[str, Any]:
    """Return the conditions that are asked, by their names in Python.

    Raises
    ------
    typer.BadParameter
        A time can't be read.
    """
    now = utc_now()
    asked = {
        "run_id": run,
        "conversation_id": conversation,
        "session_id": session,
        "provider_id": provider,
        "mime_type": mime,
        "policy_name": policy,
        "since": instant(since, "--since", now=now),
        "until": instant(until, "--until", now=now),
        "expires_before": instant(expires_before, "--expires-before", now=now, ahead=True),
    }
    return {name: value for name, value in asked.items() if value is not None}
