"""The tree of commands of `fsmedia`, and what stands before a command."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from importlib import import_module
from typing import Annotated, Any

import typer

from fsmedia.cli import output
from fsmedia.cli.app import EXIT_CODES, Command, CommandGroup, Store, command_of
from fsmedia.cli.signals import interrupt_while_loading

_HELP = """Keep the media of LLM runs in any storage that a URL names, and look at them.

To look around: fsmedia demo
"""

_EPILOG = """The store: `--store URL`, before or after the command, or $FSMEDIA_URL. A folder, s3://bucket/media,
gs://bucket/media, or any other URL of fsspec.

Credentials and endpoints are taken from where the storage's own tools look for them (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ...), from fsspec's
FSSPEC_S3_ENDPOINT_URL and the like, or from `--option KEY=VALUE`, which is shown nowhere. FSMEDIA_ENGINE=fsspec or
obstore chooses what reads and writes the objects of S3 and Azure.

"""

# The commands by their panels, with the first sentence of their help: to show all of them loads none. A name is that of
# its module, cmd_<name>.py, in which stands the rest of the help, and a function of that name, or `group`; a dash is an
# underscore there.
_COMMANDS = {
    "Store and look": {
        "demo": "Store a small run of five media, list it, read one back and check it, and make a gallery of it.",
        "init": "Make a store: write its settings.",
        "config": "Show the settings of a store, and change those that may change.",
        "store": "Store files and print their references, one per line, in the order of the files.",
        "upload-url": "Make a ticket by which others upload a file to its place, past this program; print how.",
        "confirm-upload": "Make media of what was uploaded by tickets.",
        "ls": "List media: one reference per line, in the order of their keys.",
        "info": "Show all that the store knows of media: type, size, digest, ids, time, policy, caption, attributes.",
        "annotate": "Write down what made media and what they are worth: attributes, caption, provider, file name.",
        "get": "Write media into files, by default in the current folder under the names that they were stored with.",
        "url": "Print a URL under which other programs get a media: file:// on this machine, signed on S3 and GCS.",
        "browse": "Look through a whole store in a web browser: facets, search, originals, runs side by side.",
        "gallery": "Write media into one HTML file to look through: pictures, originals, captions, attributes.",
        "compare": "Write what several runs made at the same position side by side into one HTML file.",
        "stats": "Count media and bytes: by run, type, policy and age; what expires soon; what deduplication saves.",
        "catalog": "The catalog: one row per media, kept in the store as Parquet; refresh it, show it, ask it by SQL.",
    },
    "Keep and let go": {
        "rm": "Delete media.",
        "policy": "How long media stay: put them under policies, hold and release them, delete what is due.",
        "erase": "Erase everything of a run, conversation, session or provider, wherever it lies, and tell what went.",
    },
    "Operate": {
        "verify": "Look at everything that lies in a store, tell what is wrong, and with --repair mend it.",
        "adopt": "Make media of files that other programs put there, where they are, without moving a byte.",
        "sync": "Bring the media of SRC to DST: bytes, metadata, policies, attributes, holds; from any storage to any.",
        "check-storage": "Try whether a storage does what fsmedia builds on, and tell what fsmedia does then.",
        "stores": "List the stores that have names: @name where one is named, media://@name/... for fsspec clients.",
    },
    "Exchange": {
        "import": "Take in what others left: PromptArena's results, any tree of files, logs of inspect_ai, exports.",
        "export": "Write media as other programs read them: imagefolder and audiofolder of Hugging Face, WebDataset.",
        "messages": "Put references in the place of base64 media in LLM messages, and the media back.",
    },
}
_MOVED = {
    "apply": "policy apply", "hold": "policy hold", "release": "policy release", "sweep": "policy enforce",
    "delete": "rm", "dedupe": "sync --deduplicate", "enforce": "policy enforce", "externalize": "messages externalize",
    "inline": "messages inline", "query": "catalog query", "sweep-orphans": "verify --repair=leftovers",
}  # fmt: skip


class LazyGroup(CommandGroup):
    """The top of the tree: it shows all commands without loading one, and loads the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: Command(name, help=text, rich_help_panel=panel)
            for panel, commands in _COMMANDS.items()
            for name, text in commands.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that the arguments name, loaded."""
        if args[0] in _MOVED:
            ctx.fail(f"{args[0]} is called: fsmedia {_MOVED[args[0]]}")
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(command.name)), rest


def load(name: str) -> Any:
    """Return a command with its options, or a group with its commands."""
    word = name.replace("-", "_")
    with interrupt_while_loading():
        module = import_module(f"fsmedia.cli.cmd_{word}")
    group = getattr(module, "group", None)
    if group is None:
        group = typer.Typer(rich_markup_mode="rich", add_completion=False)
        group.command(name, cls=getattr(module, "COMMAND", Command))(command_of(getattr(module, word)))
    loaded = typer.main.get_command(group)
    summary = next(commands[name] for commands in _COMMANDS.values() if name in commands)
    loaded.name, loaded.help = name, output.unwrapped(f"{summary}\n\n{module.HELP}")
    return loaded


typer_app = typer.Typer(
    name="fsmedia",
    cls=LazyGroup,
    help=output.unwrapped(_HELP),
    epilog=output.unwrapped(_EPILOG + EXIT_CODES),
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if not asked:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"fsmedia {version('fsmedia')}")
    except PackageNotFoundError:
        typer.echo("fsmedia, not installed as a package: its version is unknown")
    raise typer.Exit


@typer_app.callback()
@command_of
def _take_store(
    context: typer.Context,
    *,
    location: Store,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take what stands before the command."""
    output.show_warnings()
    context.obj = location
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
