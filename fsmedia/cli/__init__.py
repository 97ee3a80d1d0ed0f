"""The command line: `fsmedia init`, `demo`, `store`, `ls`, `policy` and so on, over any storage that a URL names.

Results go to standard output, everything else to standard error; an error is one line and an exit code. Only this
package imports typer and rich.
"""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import contextlib
import io
import logging
import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fsmedia.cli import app as endings
from fsmedia.cli import (
    cmd_catalog,
    cmd_dedupe,
    cmd_demo,
    cmd_enforce,
    cmd_erase,
    cmd_export,
    cmd_externalize,
    cmd_gallery,
    cmd_get,
    cmd_import,
    cmd_init,
    cmd_ls,
    cmd_policy,
    cmd_query,
    cmd_rm,
    cmd_stats,
    cmd_store,
    cmd_stores,
    cmd_sync,
    cmd_verify,
    output,
)
from fsmedia.cli.app import Place, StorageOptions, StoreUrl

_HELP = """Keep the media of LLM runs in any storage that a URL names, and look at them.

To look around: fsmedia demo
"""

_EPILOG = """The store: `--store URL`, before or after the command, or $FSMEDIA_URL. A folder, s3://bucket/media,
gs://bucket/media, or any other URL of fsspec.

Credentials and endpoints are taken from where the storage's own tools look for them (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ...), from fsspec's
FSSPEC_S3_ENDPOINT_URL and the like, or from `--option KEY=VALUE`, which is shown nowhere.

"""

app = typer.Typer(
    name="fsmedia",
    cls=endings.Commands,
    help=output.unwrapped(_HELP),
    epilog=output.unwrapped(_EPILOG + endings.CODES),
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


@app.callback()
def _all(
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
    context.obj = Place.of(context, store, option)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


_LOOK, _KEEP, _OPERATE, _EXCHANGE = "Store and look", "Keep and let go", "Operate", "Exchange"
_COMMANDS = (
    ("demo", cmd_demo.demo, cmd_demo.DEMO_HELP, _LOOK),
    ("init", cmd_init.init, cmd_init.INIT_HELP, _LOOK),
    ("store", cmd_store.store, cmd_store.STORE_HELP, _LOOK),
    ("ls", cmd_ls.ls, cmd_ls.LS_HELP, _LOOK),
    ("info", cmd_ls.info, cmd_ls.INFO_HELP, _LOOK),
    ("get", cmd_get.get, cmd_get.GET_HELP, _LOOK),
    ("url", cmd_get.url, cmd_get.URL_HELP, _LOOK),
    ("gallery", cmd_gallery.gallery, cmd_gallery.GALLERY_HELP, _LOOK),
    ("compare", cmd_gallery.compare, cmd_gallery.COMPARE_HELP, _LOOK),
    ("query", cmd_query.query, cmd_query.QUERY_HELP, _LOOK),
    ("stats", cmd_stats.stats, cmd_stats.STATS_HELP, _LOOK),
    ("rm", cmd_rm.rm, cmd_rm.RM_HELP, _KEEP),
    ("enforce", cmd_enforce.enforce, cmd_enforce.ENFORCE_HELP, _KEEP),
    ("erase", cmd_erase.erase, cmd_erase.ERASE_HELP, _KEEP),
    ("verify", cmd_verify.verify, cmd_verify.VERIFY_HELP, _OPERATE),
    ("sync", cmd_sync.sync, cmd_sync.SYNC_HELP, _OPERATE),
    ("dedupe", cmd_dedupe.dedupe, cmd_dedupe.DEDUPE_HELP, _OPERATE),
    ("sweep-orphans", cmd_verify.sweep_orphans, cmd_verify.SWEEP_ORPHANS_HELP, _OPERATE),
    ("stores", cmd_stores.stores, cmd_stores.STORES_HELP, _OPERATE),
    ("externalize", cmd_externalize.externalize, cmd_externalize.EXTERNALIZE_HELP, _EXCHANGE),
    ("inline", cmd_externalize.inline, cmd_externalize.INLINE_HELP, _EXCHANGE),
)
for _name, _command, _help, _panel in _COMMANDS:
    app.command(_name, help=output.unwrapped(_help), rich_help_panel=_panel)(_command)
app.add_typer(cmd_policy.app, name="policy", rich_help_panel=_KEEP)
app.add_typer(cmd_catalog.app, name="catalog", rich_help_panel=_OPERATE)
app.add_typer(cmd_import.app, name="import", rich_help_panel=_EXCHANGE)
app.add_typer(cmd_export.app, name="export", rich_help_panel=_EXCHANGE)


def main(program: str = "fsmedia") -> NoReturn:
    """Run the command line of this process; `program` is what a user types for it."""
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the locale can't spell is no reason to fail
    logging.getLogger().addHandler(logging.NullHandler())  # clients of storages log tracebacks; errors are told once
    with contextlib.suppress(ValueError):  # not in the main thread: somebody else's program calls this
        signal.signal(signal.SIGTERM, _terminate)  # so that temporary files go
    app(prog_name=program)
    sys.exit(endings.DONE)


def _terminate(_number: int, _frame: object) -> NoReturn:
    sys.exit(endings.TERMINATED)
