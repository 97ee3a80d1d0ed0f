"""`fsmedia stores`: list the stores that have names, for `media://@name/...`."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from fsmedia.cli import app, output
from fsmedia.models import public_url
from fsmedia.storage.address import known_stores

HELP = """A name comes from the environment, FSMEDIA_STORE_LAB=s3://bucket/media for @lab, or from fsspec's
configuration, {"media": {"stores": {"lab": {"url": "s3://bucket/media", "storage_options": {}}}}}.

Examples:
  FSMEDIA_STORE_LAB=./media fsmedia stores
  FSMEDIA_STORE_LAB=./media fsmedia ls --store @lab
"""


def stores(*, as_json: app.AsJson = False) -> None:
    """List the stores that have names."""
    found = known_stores()
    if not found and not as_json:
        output.note("no store has a name; see fsmedia stores --help")
    for name, url in sorted(found.items()):
        shown = "::".join(public_url(link) if "://" in link else link for link in url.split("::"))
        if as_json:
            output.json_line({"name": name, "url": shown, "opens": f"media://@{name}/"})
        else:
            output.line(f"@{output.visible(name)}  {output.visible(shown)}")
