"""`fsmedia browse`: serve a page to look through a store, until it is interrupted."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import ctypes
import math
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from fsmedia.cli import app, output
from fsmedia.cli.signals import StopSignal

_M_MMAP_THRESHOLD = -3  # of <malloc.h>

HELP = """The first line is the link to the page, which holds a token: whoever has it sees the store, from this machine
only. Ctrl-C ends it. Nothing is written but previews, in the cache folder of this machine ($FSMEDIA_CACHE), and with
`--write` the attributes that somebody changes on the page. A store of very many media is shown at once where it has a
catalog: `fsmedia catalog refresh`. Needs the packages of the extra `browse`.

On another machine, forward the port: ssh -L 8765:127.0.0.1:8765 HOST fsmedia browse --port 8765 --no-open --store URL

Examples:
  fsmedia browse --store ./media
  fsmedia browse --store s3://bucket/media --write
"""


def browse(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Where to listen; 0 takes a free port.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no web browser.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Let the page change attributes.")] = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Serve a page."""
    # What Arrow's own pool has once had it keeps, a second copy of a large catalog for a refresh.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Nor are the blocks of large originals for each thread to keep: glibc gives those of a MiB and more back.
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)
    with (
        StopSignal() as stop,  # first: who reads the link may end it at once
        location.open_existing(read_only=not write) as opened,
        opened.browse(port=port, write=write, open_browser=False) as page,
    ):
        if as_json:
            output.json_line({"url": page.url})
        else:
            output.line(page.url)
        sys.stdout.flush()
        if no_open or not page.open():
            output.note("open it in a web browser; Ctrl-C ends it")
        stop.wait(math.inf)
