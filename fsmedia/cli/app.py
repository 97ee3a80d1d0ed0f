"""What all commands share: where the store is, options, exit codes, and what becomes of their errors."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Self

import typer
from typer.core import TyperCommand, TyperGroup

from fsmedia.cli import output
from fsmedia.errors import MediaError, MediaNotFoundError

# What opens stores is imported where one is opened: to show a help, or a version, takes a third of the time without.
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from concurrent.futures import Executor

    from fsmedia.format.settings import Configuration
    from fsmedia.models import AttributeValue, Condition, RetentionPolicy, SettingsRecord
    from fsmedia.store import MediaStore

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION_PART = re.compile(
    r"(\d{1,12})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)(?![a-z])\s*", re.ASCII
)
_DURATION = re.compile(f"(?:{_DURATION_PART.pattern})+", re.ASCII)
_DURATION_FORMS = "a duration such as 90s, 30m, 12h, 2d, 1d12h or 3 weeks"
_FOREVER = {"forever", "for ever", "never"}
_SIZE = re.compile(r"(\d+) *([kMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(text: str, option: str) -> timedelta:
    """Read a duration."""
    found = _read_duration(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not {_DURATION_FORMS}", param_hint=option)
    return found


def parse_instant(text: str | None, option: str, *, now: datetime, ahead: bool = False) -> datetime | None:
    """Read an instant: ISO 8601, a duration (before now, or `ahead` of it), `2d ago`, `in 2d`, `now`."""
    if text is None:
        return None
    words = text.strip()
    try:
        if words.lower() == "now":
            return now
        for before, after, sign in (("", " ago", -1), ("in ", "", 1), ("", "", 1 if ahead else -1)):
            if words.lower().startswith(before) and words.lower().endswith(after):
                found = _read_duration(words[len(before) : len(words) - len(after)])
                if found is not None:
                    return now + sign * found
        read = datetime.fromisoformat(words)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither an ISO 8601 time such as 2026-03-04 or 2026-03-04T05:06Z nor {_DURATION_FORMS}",
            param_hint=option,
        ) from None


def parse_size(text: str, option: str) -> int:
    """Read a size in bytes: `500MB`, `1GiB`."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter("is no size: write 500MB or 1GiB", param_hint=option)
    base = 1024 if found[3] else 1000
    count: int = int(found[1]) * base ** _POWERS[found[2].lower()]
    if count < 1:
        raise typer.BadParameter("must be at least one byte", param_hint=option)
    return count


def parse_pairs(words: Iterable[str] | None, option: str, form: str) -> dict[str, str]:
    """Read repeated `NAME=VALUE`; the first `=` cuts, and no value is shown."""
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


def parse_attributes(words: Iterable[str] | None, option: str) -> dict[str, AttributeValue]:
    """Read repeated `NAME=VALUE` of attributes; see `fsmedia.models.attributes.parse_value`."""
    from fsmedia.models.attributes import parse_value

    given = parse_pairs(words, option, "NAME=VALUE, e.g. score=5, 'prompt=a cat' or 'tags=[\"a\", \"b\"]'")
    return {name: parse_value(text) for name, text in given.items()}


def parse_conditions(words: Iterable[str] | None) -> dict[str, Condition] | None:
    """Read repeated `--attribute` of a selection: `name=value`, `name>=number` and its like, `!name`."""
    from fsmedia.models.attributes import read_conditions

    try:
        return read_conditions(words or ()) or None
    except ValueError as error:
        raise typer.BadParameter(f"{error}, in quotes", param_hint="--attribute") from None


def parse_storage_options(words: Iterable[str] | None) -> dict[str, Any]:
    """Read `--option KEY=VALUE`: a value is JSON if it parses as such, else text."""
    return {name: _value(text) for name, text in parse_pairs(words, "--option", "KEY=VALUE").items()}


def parse_policies(words: Iterable[str] | None) -> list[RetentionPolicy] | None:
    """Read `--policy NAME=DURATION`; `forever` keeps for ever. None if there are none."""
    from fsmedia.models import RetentionPolicy

    given = parse_pairs(words, "--policy", "NAME=DURATION, e.g. audit=365d or legal=forever")
    return [
        RetentionPolicy(name=name, keep_for=parse_keep_for(text, f"--policy {name}")) for name, text in given.items()
    ] or None


def parse_keep_for(text: str, option: str) -> timedelta | None:
    """Read for how long a policy keeps; `forever` is None."""
    return None if text.strip().lower() in _FOREVER else parse_duration(text, option)


def settings_document(settings: SettingsRecord) -> dict[str, Any]:
    """Return settings as JSON has them: policies by name, durations in whole seconds."""
    grace = settings.orphan_grace // timedelta(seconds=1)
    return {**output.document_of(settings), "policies": policy_seconds(settings), "orphan_grace": grace}


def policy_seconds(settings: Configuration | SettingsRecord) -> dict[str, int | None]:
    """Return for how many seconds the policies of a store keep; None is for ever."""
    return {
        name: None if policy.keep_for is None else int(policy.keep_for.total_seconds())
        for name, policy in sorted(settings.policies.items())
    }


def spell_duration(seconds: int | None) -> str:
    """Return a duration as `parse_duration` reads it: `365d`, `1d12h`; `for ever` for none."""
    if seconds is None:
        return "for ever"
    text = ""
    for unit in "dhms":
        count, seconds = divmod(seconds, _SECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _read_duration(text: str) -> timedelta | None:
    words = text.strip().lower()
    if not _DURATION.fullmatch(words):
        return None
    try:
        return timedelta(seconds=sum(int(count) * _SECONDS[unit[0]] for count, unit in _DURATION_PART.findall(words)))
    except OverflowError:
        return None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_WHOLE = 4
INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141
EXIT_CODES = """\
Exit codes: 0 done, 1 failed (the line on standard error says why), 2 wrong usage, 3 no such media or file,
4 the store is not whole (verify) or a guarantee does not stand (check-storage), 130 interrupted, 141 the reader of a
pipe went away."""
_TIMEOUT = timedelta(seconds=60)


def _store_names(incomplete: str) -> list[str]:
    """Complete the name of a store, from the environment and fsspec's configuration; asks no storage."""
    from fsmedia.storage.address import known_stores

    return sorted(f"@{name}" for name in known_stores() if f"@{name}".startswith(incomplete))


StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        "-s",
        metavar="URL",
        autocompletion=_store_names,
        help="The store: a folder, s3://bucket/media, any fsspec URL, @name (see stores); else $FSMEDIA_URL.",
    ),
]
StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="A storage option for fsspec, e.g. endpoint_url=http://localhost:9000; JSON or text; repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document per line, for programs.")]
All = Annotated[bool, typer.Option("--all", help=f"Show more than {output.ROWS} of each kind.")]
References = Annotated[list[str], typer.Argument(metavar="REF", help="References, as ls shows them.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=256, metavar="N", help="Work on so many windows of media at once.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask, as is done where a person sits at the terminal.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Go on though fewer than half of the media of the newest catalog are listed, or none."
    ),
]
HtmlFile = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file; replaced if it is there.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Change nothing, say what would be done.")]
PolicyName = Annotated[
    str | None, typer.Option("--policy", metavar="NAME", help="Retention: retain-30days, delete-after-5min, ...")
]


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Marks a parameter of a command that stands for several options: it is what a function makes of its own ones.

    `without` names those that this command does not have.
    """

    make: Callable[..., Any]
    without: tuple[str, ...] = ()


_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no notes, only results and errors.")]


def command_of(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command as typer reads it: with the options of its groups in their places, and `--quiet`."""
    flat = with_option_groups(function)

    @wraps(flat)
    def run(*, quiet: bool, **given: Any) -> None:
        if quiet:
            output.be_quiet(True)
        flat(**given)

    asked = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Quiet)
    return _with_parameters(run, [*inspect.signature(flat).parameters.values(), asked])


def with_option_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the options of its groups in the place of what these make of them."""
    options: dict[str, inspect.Parameter] = {}
    own: list[str] = []
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        metadata = getattr(parameter.annotation, "__metadata__", ())
        group = next((each for each in metadata if isinstance(each, OptionGroup)), None)
        if group is None:
            own.append(name)
            options[name] = parameter
        else:
            make = with_option_groups(group.make)
            inner = inspect.signature(make).parameters
            groups[name] = make, [each for each in inner if each not in group.without]
            options |= {each: inner[each] for each in groups[name][1]}

    @wraps(command)
    def run(**given: Any) -> Any:
        made = {name: make(**{each: given[each] for each in inner}) for name, (make, inner) in groups.items()}
        # An option that a group leaves out has the default of its function.
        return command(**{name: given[name] for name in own if name in given}, **made)

    return _with_parameters(run, [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in options.values()])


def _with_parameters(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """Give a function the parameters that typer shall read."""
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """The root URL of a store as the user wrote it, if anything names one; and what fsspec takes, never shown."""

    url: str | None = None
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, context: typer.Context, store: StoreUrl = None, option: StorageOptions = None) -> Self:
        """Join what stands before the command and after it."""
        outer = context.obj if isinstance(context.obj, StoreLocation) else StoreLocation()
        return cls(outer.url if store is None else store, {**outer.options, **parse_storage_options(option)})

    def url_or_default(self) -> str:
        """Return the URL, the environment's if the command line has none."""
        from fsmedia.storage.address import URL_VARIABLE

        if self.url is not None and not self.url.strip():
            raise typer.BadParameter("is empty", param_hint="--store")
        url = self.url or os.environ.get(URL_VARIABLE, "").strip()
        if not url:
            raise CommandError(
                f"no store is named: give --store URL or set {URL_VARIABLE} (to look around first: fsmedia demo)",
                code=USAGE,
            )
        return url

    def open_existing(self, *, read_only: bool = False) -> MediaStore:
        """Open the store that is there; a mistyped URL is no empty store."""
        opened = self.open(read_only=read_only)
        opened._settings_file.check_exists()
        return opened

    def open(self, **settings: Any) -> MediaStore:
        """Open the store, or the place of one. A file that a person names is taken whatever its size."""
        from fsmedia.store import MediaStore

        return MediaStore(self.url_or_default(), storage_options=self.options, max_file_size=None, **settings)

    @contextmanager
    def open_for_work(
        self, word: str, threads: int | None = None, *, read_only: bool = False
    ) -> Iterator[tuple[MediaStore, dict[str, Any]]]:
        """Open the store that is there; give it, and what its long works take: an executor, and a bar that moves."""
        with (
            self.open_existing(read_only=read_only) as opened,
            thread_pool(threads) as executor,
            output.count_progress(word, None) as meter,
        ):
            yield opened, {"executor": executor, "progress": meter.reach}

    def read_settings(self) -> Configuration | None:
        """Return the settings that lie at the root; None where no store was made yet."""
        from fsmedia.format.keys import CONFIGURATION_KEY
        from fsmedia.format.settings import Configuration
        from fsmedia.storage import open_backend
        from fsmedia.storage.address import resolve_root

        with open_backend(*resolve_root(self.url_or_default(), self.options), timeout=_TIMEOUT) as backend:
            data = backend.read(CONFIGURATION_KEY)
        return None if data is None else Configuration.parse(data)


Store = Annotated[StoreLocation, OptionGroup(StoreLocation.of)]


def conditions(
    *,
    run: Annotated[str | None, typer.Option(metavar="ID", help="Of this run.")] = None,
    conversation: Annotated[str | None, typer.Option(metavar="ID", help="Of this conversation.")] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Of this session.")] = None,
    provider: Annotated[str | None, typer.Option(metavar="ID", help="Of this provider.")] = None,
    mime: Annotated[str | None, typer.Option(metavar="TYPE", help="Of this type, or pattern: 'image/*'.")] = None,
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="Under this retention policy.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Made at or after: 2026-03-04, 2d.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Made before: 2026-03-04, 12h.")] = None,
    expires_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Expires before: 2026-03-04, 2d (from now).")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute", "-a", metavar="COND", help="'model=gpt-*', 'score>=4', '!draft', in quotes; repeatable."
        ),
    ] = None,
) -> dict[str, Any]:
    """Return the conditions of a selection that are given, by their names in Python."""
    now = datetime.now(UTC)
    given: dict[str, Any] = {"run_id": run, "conversation_id": conversation, "session_id": session}
    given |= {"provider_id": provider, "mime_type": mime, "policy_name": policy}
    given["attributes"] = parse_conditions(attribute)
    given["since"] = parse_instant(since, "--since", now=now)
    given["until"] = parse_instant(until, "--until", now=now)
    given["expires_before"] = parse_instant(expires_before, "--expires-before", now=now, ahead=True)
    return {name: value for name, value in given.items() if value is not None}


Selection = Annotated[dict[str, Any], OptionGroup(conditions)]
Held = Annotated[bool | None, typer.Option("--held/--not-held", help="Held by `policy hold`, or not.")]


@dataclass(frozen=True, slots=True)
class MediaChoice:
    """The media that a command line means: those it names, or those that meet its conditions."""

    references: list[str]
    conditions: dict[str, Any]
    held: bool | None = None

    @classmethod
    def of(
        cls,
        *,
        references: Annotated[
            list[str] | None, typer.Argument(metavar="REF", help="References, as ls shows them; or give conditions.")
        ] = None,
        selection: Selection,
        held: Held = None,
    ) -> Self:
        """Refuse both, and neither: nobody shall mean a whole store by naming nothing."""
        if bool(references) == (bool(selection) or held is not None):
            problem = "stands beside conditions: give one of them"
            if not references:
                problem = "none is given: name media, or say which by conditions, e.g. --run r1"
            raise typer.BadParameter(problem, param_hint="REF")
        return cls(references or [], selection, held)

    def find(self, opened: MediaStore, *, held: bool | None = None, own: bool = True) -> list[str]:
        """Return the references of the media that are meant; say so where conditions mean none.

        `own`: leave out what conditions find that has no sidecar. It is another program's: a root may be anything, and
        who deletes by a condition does not mean all that somebody ever put there.
        """
        if self.references:
            return self.references
        found = list(opened._select(**self.conditions, held=self.held if held is None else held))
        kept: list[str] = [reference for reference, has_sidecar in found if has_sidecar or not own]
        if len(kept) < len(found):
            left = f"left out {len(found) - len(kept):,} files without sidecar, which are other programs'"
            output.note(f"{left}: name them, or make media of them: fsmedia adopt")
        elif not found:
            output.note(f"no media match in {opened.url}")
        return kept


Choice = Annotated[MediaChoice, OptionGroup(MediaChoice.of)]


def ids(
    *,
    run: Annotated[str, typer.Option(metavar="ID", show_default=False, help="The run it belongs to.")] = "",
    conversation: Annotated[str, typer.Option(metavar="ID", show_default=False, help="The conversation.")] = "",
    session: Annotated[str, typer.Option(metavar="ID", show_default=False, help="The session.")] = "",
    provider: Annotated[str, typer.Option(metavar="ID", show_default=False, help="Who made it, e.g. openai.")] = "",
) -> dict[str, Any]:
    """Return the ids of what is stored, by their names in Python."""
    return {"run_id": run, "conversation_id": conversation, "session_id": session, "provider_id": provider}


Ids = Annotated[dict[str, Any], OptionGroup(ids)]


class CommandError(Exception):
    """A command can't go on: one line for the user, and the exit code."""

    def __init__(self, text: str, *, code: int = FAILED) -> None:
        self.code = code
        super().__init__(text)


def _untyped_flags(params: list[Any]) -> list[Any]:
    """Give flags no type in a help: they take no value, and `<bool>` says that they do."""
    for each in params:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
    return params


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return options and arguments."""
        return _untyped_flags(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """A group of commands: what they raise becomes one line and an exit code."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options."""
        return _untyped_flags(super().get_params(ctx))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line; exits unless `standalone_mode` is False, as typer's own does."""
        output.be_quiet(False)
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
            _print_usage_error(error)
            code = getattr(error, "exit_code", USAGE)
        sys.exit(code if isinstance(code, int) else DONE)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except typer.BadParameter as error:
            if error.ctx is None:  # raised by a command, not by its parser
                _print_usage_error(error, f"{ctx.command_path} {ctx.invoked_subcommand}")
                raise typer.Exit(USAGE) from None
            raise
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt:
            output.note("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (CommandError, MediaError, OSError) as error:
            output.error(output.error_text(error))
            raise typer.Exit(exit_code_of([error])) from None
        return result


def command_group(commands: Iterable[tuple[str, Callable[..., None], str]]) -> typer.Typer:
    """Return a group of commands: of each its name, its function and its help."""
    group = typer.Typer(cls=CommandGroup, invoke_without_command=True, rich_markup_mode="rich")

    @group.callback()
    @command_of
    def take_store(context: typer.Context, *, location: Store) -> None:
        """Take what stands before the command."""
        context.obj = location
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    for name, command, command_text in commands:
        group.command(name, cls=Command, help=output.unwrapped(command_text))(command_of(command))
    return group


def require_id(opened: MediaStore, ids: dict[str, Any]) -> None:
    """Refuse to store without the id that a store is organized by."""
    needed = opened.organization.id_field
    if not ids[needed]:
        option = f"--{needed.removesuffix('_id')}"
        problem = f"{option} is required: the store at {opened.url} is organized {opened.organization}"
        raise CommandError(problem, code=USAGE)


def exit_code_of(errors: Iterable[BaseException]) -> int:
    """Return the exit code of a command that met these errors: "not found" only if that was all of it."""
    codes = {error.code if isinstance(error, CommandError) else _exit_code(error) for error in errors}
    return DONE if not codes else codes.pop() if len(codes) == 1 else FAILED


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Give a name beside a file, for what takes its place when it is whole; nothing stays there."""
    from fsmedia.format.keys import temporary_name

    temporary = path.with_name(temporary_name())
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def can_ask() -> bool:
    """Tell whether a person sits at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, otherwise: str = "nothing was deleted") -> None:
    """Ask, where somebody can answer; `otherwise` is what a no comes to."""
    if can_ask() and not typer.confirm(output.visible(question), err=True):
        raise CommandError(otherwise)


@contextmanager
def thread_pool(threads: int | None) -> Iterator[Executor | None]:
    """Give an executor of so many threads; None if no number is given."""
    if threads is None:
        yield None
        return
    from concurrent.futures import ThreadPoolExecutor

    executor = ThreadPoolExecutor(threads, thread_name_prefix="fsmedia")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def each_media(references: Collection[str], act: Callable[[str], None], word: str = "media") -> NoReturn:
    """Call a function for each media, print what fails and go on past it; exit with what all of it comes to."""
    errors: list[Exception] = []
    # On a terminal the line of each media shows the progress, and a bar would stand in its way.
    worth = len(references) > 1 and not sys.stdout.isatty()
    with output.count_progress(word, len(references), worth=worth) as meter:
        for reference in references:
            try:
                act(reference)
            except BrokenPipeError:
                raise
            except (MediaError, CommandError, OSError) as error:
                output.error(output.error_text(error))
                errors.append(error)
            meter.advance(1)
    raise typer.Exit(exit_code_of(errors))


def _exit_code(error: BaseException) -> int:
    return NOT_FOUND if isinstance(error, MediaNotFoundError) else FAILED


def _print_usage_error(error: Any, command: str = "") -> None:
    """Print in one line what is wrong with the command line, and where it is explained."""
    context = getattr(error, "ctx", None)
    command = command or ("" if context is None else context.command_path)
    text = " ".join(str(error.format_message()).split()).replace(": Value error, ", ": ")  # pydantic's, by typer
    output.error(f"{text.rstrip('.')}; see: {command} --help" if command else text)


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, or Python would complain about it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
