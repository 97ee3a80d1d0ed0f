"""Taking in what exists: PromptArena's results, trees of files, inspect_ai's logs. Clients of `MediaStore`.

Every importer says for each media where it came from (the attribute `user.source`, written with the media itself), and
asks the store for that and the digest before it stores: importing again stores what is new, so a killed import goes on
where it was. There is no other memory of an import.
"""

from fsmedia.exchange.imports.adoption import adopt_folder
from fsmedia.exchange.imports.folder import import_folder
from fsmedia.exchange.inspect_logs import import_inspect
from fsmedia.exchange.promptarena import import_promptarena

__all__ = ["adopt_folder", "import_folder", "import_inspect", "import_promptarena"]
