"""The tree of commands of `fsmedia`, and what stands before a command."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import EXIT_CODES, Command, CommandGroup, Store, with_option_groups

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
    "Operate": ("verify", "sync", "stores", "catalog"),
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


def _show_version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(f"fsmedia {version('fsmedia')}")
        except PackageNotFoundError:
            typer.echo("fsmedia, not installed as a package: its version is unknown")
        raise typer.Exit


@typer_app.callback()
@with_option_groups
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


def _add_commands() -> None:
    for panel, names in _COMMANDS.items():
        for name in names:
            python_name = name.replace("-", "_")
            module = import_module(f"fsmedia.cli.cmd_{python_name}")
            if hasattr(module, "group"):
                typer_app.add_typer(module.group, name=name, rich_help_panel=panel)
            else:
                kind = getattr(module, "COMMAND", Command)
                command = typer_app.command(name, cls=kind, help=output.unwrapped(module.HELP), rich_help_panel=panel)
                command(with_option_groups(getattr(module, python_name)))


_add_commands()
