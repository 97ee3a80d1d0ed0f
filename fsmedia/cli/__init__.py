"""The command line: `fsmedia init`, `demo`, `store`, `ls`, `policy` and so on, over any storage that a URL names.

Results go to standard output, everything else to standard error; an error is one line and an exit code. Only this
package imports typer and rich.
"""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import io
import logging
import os
import signal
import sys
from contextlib import ExitStack, suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fsmedia.cli import output
from fsmedia.cli.app import DONE, EXIT_CODES, TERMINATED, CommandGroup, StorageOptions, StoreLocation, StoreUrl

_HELP = """Keep the media of LLM runs in any storage that a URL names, and look at them.

To look around: fsmedia demo
"""

_EPILOG = """The store: `--store URL`, before or after the command, or $FSMEDIA_URL. A folder, s3://bucket/media,
gs://bucket/media, or any other URL of fsspec.

Credentials and endpoints are taken from where the storage's own tools look for them (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ...), from fsspec's
FSSPEC_S3_ENDPOINT_URL and the like, or from `--option KEY=VALUE`, which is shown nowhere.

"""

# The names of `fsmedia --help` by its panels. A name is that of its module, cmd_<name>.py, in which stands either a
# function of that name and its HELP, or `group`, a group of commands.
_COMMANDS = {
    "Store and look": (
        "demo", "init", "store", "ls", "info", "get", "url", "gallery", "compare", "query", "stats",
    ),
    "Keep and let go": ("rm", "enforce", "erase", "policy"),
    "Operate": ("verify", "sync", "dedupe", "sweep-orphans", "stores", "catalog"),
    "Exchange": ("externalize", "inline", "import", "export"),
}  # fmt: skip

typer_app = typer.Typer(
    name="fsmedia",
    cls=CommandGroup,
    help=output.unwrapped(_HELP),
    epilog=output.unwrapped(_EPILOG + EXIT_CODES),
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(program: str = "fsmedia") -> NoReturn:
    """Run the command line of this process; `program` is what a user types for it."""
    with ExitStack() as stack:
        if sys.stdout is None:  # closed by whoever started this
            sys.stdout = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a name that the locale can't spell is no reason to fail
        # Clients of storages log tracebacks; errors are printed once, by the command.
        logging.getLogger().addHandler(logging.NullHandler())
        with suppress(ValueError):  # not in the main thread: somebody else's program calls this
            signal.signal(signal.SIGTERM, _terminate)  # so that temporary files go
        typer_app(prog_name=program)
    sys.exit(DONE)


def _terminate(_number: int, _frame: object) -> NoReturn:
    sys.exit(TERMINATED)


def _show_version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(f"fsmedia {version('fsmedia')}")
        except PackageNotFoundError:
            typer.echo("fsmedia, not installed as a package: its version is unknown")
        raise typer.Exit


@typer_app.callback()
def _take_store(
    context: typer.Context,
    *,
    store: StoreUrl = None,
    option: StorageOptions = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take what stands before the command."""
    output.show_warnings()
    context.obj = StoreLocation.of(context, store, option)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _add_commands() -> None:
    for panel, names in _COMMANDS.items():
        for name in names:
            python_name = name.replace("-", "_")
            module = import_module(f"fsmedia.cli.cmd_{python_name}")
            if hasattr(module, "group"):
                typer_app.add_typer(module.group, name=name, rich_help_panel=panel)
            else:
                command = typer_app.command(name, help=output.unwrapped(module.HELP), rich_help_panel=panel)
                command(getattr(module, python_name))


_add_commands()
