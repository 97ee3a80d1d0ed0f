"""What others wrote and read: importers, exporters, and the sinks of instrumented programs. Clients of `MediaStore`.

Every importer says for each media where it came from (the attribute `user.source`, written with the media itself), and
asks the store for that and the digest before it stores: importing again stores what is new, so a killed import goes on
where it was. There is no other memory of an import. Exporters take what a selection names.
"""

from __future__ import annotations

from fsmedia.exchange.claude_code import import_claude_code
from fsmedia.exchange.codex import import_codex
from fsmedia.exchange.folders import import_folder
from fsmedia.exchange.imagefolder import export_audiofolder, export_imagefolder, import_imagefolder
from fsmedia.exchange.inspect_logs import import_inspect
from fsmedia.exchange.promptarena import import_promptarena
from fsmedia.exchange.webdataset import export_webdataset, import_webdataset

__all__ = [
    "export_audiofolder", "export_imagefolder", "export_webdataset", "import_claude_code", "import_codex",
    "import_folder", "import_imagefolder", "import_inspect", "import_promptarena", "import_webdataset",
]  # fmt: skip
