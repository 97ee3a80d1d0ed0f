"""Where a command works: the store that `--store`, or `$FSMEDIA_URL`, names, with its storage options.

Both words may stand before the command or after it; after it wins. Options are secrets: they stand in no text.
"""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Self

import typer

from fsmedia.cli import words
from fsmedia.cli.endings import USAGE, CommandError
from fsmedia.format import keys
from fsmedia.format.configuration import Configuration
from fsmedia.storage import open_backend
from fsmedia.storage.environment import URL_VARIABLE
from fsmedia.store import MediaStore

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
        return cls(outer.url if url is None else url, {**outer.options, **words.storage_options(options)})

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
