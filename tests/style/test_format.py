"""docs/format.md and docs/orders.md say what the code does: keys, settings, escapes, sidecars, orders of writes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from fsmedia.catalog import COLUMNS, VERSION
from fsmedia.catalog.schema import ATTRIBUTE_KINDS, COARSEST, MOST_COLUMNS, AttributeColumns, TableHeader
from fsmedia.core import commit, named
from fsmedia.core.settings_file import SWITCHES
from fsmedia.errors import InvalidReferenceError
from fsmedia.format import keys
from fsmedia.format.layout import DEFAULT_TEMPLATES, DEFAULT_VIEWS, PLAIN_FOLDERS, View, escape_id
from fsmedia.format.settings import FORMAT as STORE_FORMAT
from fsmedia.format.settings import Configuration, Settings
from fsmedia.format.sidecar import FORMAT as SIDECAR_FORMAT
from fsmedia.format.sidecar import METADATA_FIELDS, Sidecar
from fsmedia.maintenance import erase, sync
from fsmedia.maintenance.expiry import LATER, LONGEST_CLOCK_DIFFERENCE
from fsmedia.models import CONTENT_FIELDS, ContentFields, MediaMetadata, OrganizationMode
from fsmedia.storage import local, memory
from fsmedia.storage.port import LONGEST_WAIT, SHORTEST_WAIT
from tests.style.project import PACKAGE
from tests.surfaces.commands import tells

TEXT = "".join((PACKAGE / name).read_text() for name in ("docs/format.md", "docs/orders.md"))
UNIQUE = "u[0-9a-z]{26}"
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def section(title: str) -> str:
    """The text below a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"docs/format.md has no section {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    table = [line.strip("|\n").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in table[2:]]


def spans(text: str) -> list[str]:
    """What stands in code spans."""
    return re.findall(r"`([^`\n]+)`", text)


def one_line(text: str) -> str:
    """Text without its line breaks."""
    return " ".join(text.split())


def test_the_page_names_its_format_and_the_keys_of_the_code() -> None:
    assert STORE_FORMAT == SIDECAR_FORMAT
    assert f"It describes format {STORE_FORMAT}." in one_line(TEXT)
    named = [spans(row[0])[0] for row in rows(section("Keys"))]
    temporary = keys.temporary_name()
    unique = temporary.rpartition("-")[2]
    assert re.fullmatch(UNIQUE, unique)
    assert named == [
        keys.CONFIGURATION_KEY, "<reference>", keys.sidecar_key("<reference>"),
        f"{keys.BLOBS}/<2 hex>/<digest>/data/<generation>", f"{keys.BLOBS}/<2 hex>/<digest>/refs/<generation>/<marker>",
        f"{keys.BLOBS}/<2 hex>/<digest>/condemned/<generation>/<id>", f"{keys.DUE}/<YYYY-MM-DD>/<HH>/<MM>/<reference>",
        f"{keys.HOLDS}/<digest of reference>", f"{keys.DELETIONS}/<YYYY-MM-DD>/<HHMMSS>-<unique>.jsonl",
        f"{keys.REFERENCES}/<YYYY-MM-DD>/<HHMMSS>-<unique>.jsonl",
        f"{keys.ERASURES}/<YYYY-MM-DD>/<HHMMSS>-<unique>.jsonl",
        f"{keys.QUARANTINE}/<YYYY-MM-DD>T<HHMMSS>-<unique>/<key>", f"{keys.CATALOG}/<time>-<unique>.parquet",
        f"{keys.CATALOG}/<YYYY-MM-DD>T<HHMMSS>-<unique>.erased", f"{keys.LOCKS}/<2 hex>", f"{keys.SWITCHES}/<name>",
        f"{keys.ASIDE}/<unique>-<quoted key>", keys.INDEX_ASIDE_KEY, f"{keys.CHECK}<unique>/...",
        temporary.removesuffix(unique) + "<unique>",
    ]  # fmt: skip


def test_the_keys_of_dates_and_of_shared_bytes_have_the_forms_that_the_page_gives() -> None:
    late = datetime(2026, 3, 4, 23, 59, 0, 1, tzinfo=UTC)
    assert keys.due_key(late, "runs/r1/x.png") == ".fsmedia/due/2026-03-05/00/00/runs/r1/x.png"
    assert keys.due_key(NOON, "a") == ".fsmedia/due/2026-03-04/12/00/a"
    mark, folder = keys.erasure_mark(NOON), keys.quarantine_folder(NOON)
    for made, form in (
        (keys.hold_key("a"), rf"{keys.HOLDS}/[0-9a-f]{{64}}"),
        (keys.dated_key(keys.DELETIONS, NOON), rf"{keys.DELETIONS}/2026-03-04/120000-{UNIQUE}\.jsonl"),
        (keys.dated_key(keys.ERASURES, NOON), rf"{keys.ERASURES}/2026-03-04/120000-{UNIQUE}\.jsonl"),
        (keys.snapshot_key(NOON), rf"{keys.CATALOG}/20260304T120000000Z-{UNIQUE}\.parquet"),
        (mark, rf"{keys.CATALOG}/2026-03-04T120000-{UNIQUE}\.erased"),
        (folder, rf"{keys.QUARANTINE}/2026-03-04T120000-{UNIQUE}"),
        (keys.quarantined_key(folder, "x" * 1000, 10), rf"{folder}/[0-9a-f]{{64}}"),
    ):
        assert re.fullmatch(form, made), made
    assert keys.is_erasure_mark(mark)
    assert keys.parse_snapshot(mark) is None
    assert keys.quarantined_key(folder, "runs/r1/x.png", 10) == f"{folder}/runs/r1/x.png"
    assert keys.quarantine_note(folder) == f"{folder}.json"
    pointer = keys.Pointer(20480, "ab" * 32, "01m83g628zep8a9rrkcagmbh3w")
    folder = f"{keys.BLOBS}/ab/{'ab' * 32}"
    assert pointer.data_key == f"{folder}/data/{pointer.generation}"
    assert pointer.marker_key("m") == f"{folder}/refs/{pointer.generation}/m"
    assert pointer.condemned_key().startswith(f"{folder}/condemned/{pointer.generation}/")
    assert sorted([pointer.marker_key("m"), pointer.data_key, pointer.condemned_key()])[1] == pointer.data_key
    plain, shared = re.findall(r"^    (\S+\.png)$", section("Keys"), re.MULTILINE)
    assert keys.pointer_of(shared.replace("<digest>", pointer.digest)) == pointer
    own = keys.parse_own_name(plain)
    assert own is not None
    assert (own.message_idx, own.part_idx, own.ext) == (3, 1, ".png")
    assert keys.plain_name(3, 1, own.unique) + ".png" == plain


@pytest.mark.parametrize(
    "reference", [".fsmedia", ".FSMedia/x", "a/x.meta", ".dedup_index.json", "a//b", "a/./b", "a/../b", "a::b", "a://b"]
)
def test_what_the_page_says_is_no_reference_is_none(reference: str) -> None:
    with pytest.raises(InvalidReferenceError):
        keys.check_reference(reference)
    words = (keys.INTERNAL, keys.SIDECAR_SUFFIX, keys.DEDUP_INDEX_KEY, "..", "::", "://")
    tells(one_line(section("Keys")).rpartition("Never a reference:")[2], *(f"`{word}`" for word in words))


def test_the_settings_are_those_of_store_json() -> None:
    views = {"by-day": "{timestamp:%Y-%m-%d}/{name}{ext}"}
    policies = {"audit": timedelta(days=1)}
    read = {"organization": "by-run", "policies": policies, "default_policy": "audit", "views": views}
    read["permissions"] = "shared"
    first = Configuration.first(Settings.read(read), organization=OrganizationMode.BY_RUN, adopted=True)
    values, text = json.loads(first.dump()), section("Settings")
    assert [spans(row[0])[0] for row in rows(text)] == list(values)
    assert list(values["policies"]["audit"]) == ["keep_for_seconds"]
    tells(text, '`{"keep_for_seconds": integer or null}`', f"`{keys.CONFIGURATION_KEY}`")
    tells(text, *(f"`{mode}`" for mode in OrganizationMode))


def test_ids_lengths_and_default_templates_are_as_the_page_says() -> None:
    text = one_line(section("Layouts"))
    assert set(DEFAULT_TEMPLATES.values()) <= {span for span in spans(text) if span.endswith("/{name}{ext}")}
    table = {row[0]: row[1] for row in rows(section("Layouts"))}
    assert table["`.`, `..`"] == f"`{escape_id('.')}`, `{escape_id('..')}`"
    assert table["an ending `.meta`"] == f"`{escape_id('.meta')}`"
    assert next(cell for name, cell in table.items() if name.startswith("empty")) == f"`{escape_id('')}`"
    assert escape_id("é") == "~c3~a9"
    assert re.fullmatch(r"x+~~[0-9a-f]{32}", escape_id("x" * 300))
    (longer,) = (cell for name, cell in table.items() if name.startswith("longer"))
    assert longer.startswith("a beginning, `~~`, and 32 hex")
    reserve = f"{keys.KEY_RESERVE} bytes in reserve"
    tells(text, f"at most {keys.MAX_NAME} bytes", reserve, f"at most {keys.MAX_KEY:,}.")


def test_views_are_as_the_page_says() -> None:
    text = one_line(section("Views"))
    tells(text, *(f"`{view.name}/`" for view in DEFAULT_VIEWS), *(f"`{folder}`" for folder in PLAIN_FOLDERS))
    tells(text, "as in `image/png`", "does not have is `~_`", "`~` and 8 hex digits")
    assert View("v", "{mime_type}/{name}{ext}").folders(["image/png"]) == ("image", "png")
    assert View("v", "{run_id}/{name}{ext}").folders([None]) == ("~_",)


def test_the_keys_of_a_sidecar_are_those_of_the_code() -> None:
    text = section("Sidecars")
    ids = {"run_id": "r", "conversation_id": "c", "session_id": "s", "provider_id": "p", "policy_name": "retain"}
    fields = dict(MediaMetadata(**ids, mime_type="image/png", timestamp=NOON))
    content = dict(ContentFields(caption="c"))
    sidecar = Sidecar.build(fields, content, sha256="", expires_at=NOON, detected_mime_type="image/gif")
    promptkit = [span for span in spans(text.partition("| key")[0]) if span in METADATA_FIELDS]
    ours = [spans(row[0])[0] for row in rows(text)]
    assert promptkit == list(METADATA_FIELDS)
    told = [key for key in [*promptkit, *ours] if key not in ("xattrs", "marker", "write", "leaving")]
    assert told == list(sidecar.values)
    (described,) = (row[2] for row in rows(text) if row[0] == "`content`")
    assert tuple(spans(described)) == CONTENT_FIELDS


def test_the_columns_and_the_names_of_the_catalog_are_those_of_the_code() -> None:
    text = section("Catalog")
    kinds = {"instant": "timestamp[us, UTC]"}
    assert rows(text) == [[f"`{each.name}`", kinds.get(each.kind, each.kind), each.about] for each in COLUMNS]
    listed = f"within {COARSEST // timedelta(seconds=1)} s before the listing"
    tells(one_line(text), f"metadata, now {VERSION}.", listed, "`YYYYMMDDTHHMMSSmmmZ`")
    facts = TableHeader("s3://b/m", NOON, "digest", AttributeColumns({"model": "string"}, others=False)).dump()
    assert {name.decode() for name in facts} | ATTRIBUTE_KINDS <= set(spans(text))
    tells(one_line(text), f"the {MOST_COLUMNS} that most rows have")


def test_deletes_of_shared_and_of_named_media_have_the_order_of_the_page() -> None:
    text = one_line(section("Orders of writes"))
    steps = ", ".join(f"`{step.__name__}`" for step in commit.DELETE_SHARED)
    assert f"takes `commit.DELETE_SHARED`: {steps}." in text
    names = [step.__name__ for step in (*commit.DELETE_NAMED, *commit.DELETE_MARKED)]
    assert names.index("remove_bytes") < names.index("remove_sidecar")
    assert names.index("mark_leaving") < names.index("remove_bytes_under_mark") < names.index("remove_marked_sidecar")


def test_names_that_clients_choose_have_the_orders_the_numbers_and_the_switches_of_the_code() -> None:
    text = section("Names that clients choose")
    assert {order for orders in commit._ORDERS.values() for order in orders} == {
        span.removeprefix("commit.") for span in spans(text) if span.startswith("commit.")
    }
    waits = sum(min(SHORTEST_WAIT * 2**attempt, LONGEST_WAIT) for attempt in range(named.LOOKS))
    assert 4 < waits < 6
    assert local.LOCK_PATIENCE == memory.LOCK_PATIENCE
    assert len({keys.lock_key(str(number)) for number in range(5_000)}) == 256
    tells(
        one_line(text),
        "`mark_leaving`",
        f"After {named.ROUNDS} rounds it gives up",
        "about five seconds",
        f"once its object is {named.DEAD_AFTER // timedelta(minutes=1)} minutes old",
        f"above {named.PIECE // 2**20} MiB the size",
        f"waits {local.LOCK_PATIENCE:.0f} seconds raises",
        "one of the 256 files",
    )
    (row,) = (row for row in rows(section("Keys")) if keys.SWITCHES in row[0])
    assert spans(row[1]) == list(SWITCHES)


@pytest.mark.parametrize("name", ["STORE", "DELETE", "CONFIRM"])
def test_the_steps_stand_in_the_order_of_the_code(name: str) -> None:
    steps = [step.__name__ for step in getattr(commit, name)]
    text = section("Uploads by ticket" if name == "CONFIRM" else "Orders of writes")
    told = text[text.index(f"`commit.{name}`") :]
    numbered = re.findall(r"^(\d+)\. `(\w+)`", told, re.MULTILINE)
    assert [step for _, step in numbered][: len(steps)] == steps
    assert [int(number) for number, _ in numbered][: len(steps)] == list(range(1, len(steps) + 1))
    assert len(numbered) == len(steps) or numbered[len(steps)][0] == "1"


def test_every_step_that_is_named_exists_and_the_numbers_of_the_orders_are_those_of_the_code() -> None:
    known = {step.__name__ for step in (*commit.STORE, *commit.DELETE)}
    assert known <= set(spans(section("Orders of writes")))
    text = one_line(section("Orders of writes"))
    named = set(re.findall(r"after `(\w+)`", text))
    assert named
    assert named <= known
    assert (timedelta(hours=24), timedelta(days=1)) == (commit.ORPHAN_GRACE, LATER)
    tells(text, "more than half of the grace (24 hours unless", "moves to the next day")
    tells(text, f"beyond {LONGEST_CLOCK_DIFFERENCE // timedelta(minutes=1)} minutes")
    tells(text, f"For a window of up to {sync._WINDOW} media")
    assert text.index("gets its hold at the target first") < text.index("The bytes are read, and compared")
    tells(text[text.index("**erasing a subject**") :], f"for up to {erase.WINDOW:,} media at a time")
