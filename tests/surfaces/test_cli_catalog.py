"""`fsmedia catalog`."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.catalog import snapshots as room
from fsmedia.cli import cmd_catalog
from fsmedia.store import utc_now
from tests.catalogs import PNG, old_enough, snapshots
from tests.storages import LOCAL, LocalStorage, Storage
from tests.surfaces.commands import HOSTILE, answers, exits, fsmedia, harmless, on_terminal, put, refused, tells

WEEK = (
    "select run_id, sum(size_bytes) bytes from media where mime_type like 'image/%' "
    "and expires_at between now() and now() + interval 7 days group by run_id order by run_id"
)


def weekly(url: str) -> dict[str, int]:
    """Store images of three runs, some of which expire within a week; return their bytes by run."""
    for run, policy, kind in (
        ("r1", "retain-3days", "image/png"), ("r1", "retain-6days", "image/png"), ("r1", "retain-9days", "image/png"),
        ("r2", "retain-3days", "image/png"), ("r2", None, "image/png"), ("r3", "retain-3days", "text/plain"),
    ):  # fmt: skip
        put(url, data=PNG, run_id=run, policy_name=policy, mime_type=kind)
    past = utc_now() - timedelta(days=9)
    put(url, data=PNG, run_id="r4", policy_name="retain-3days", timestamp=past, mime_type="image/png")
    return {"r1": 2 * len(PNG), "r2": len(PNG)}


def test_refresh_and_show(storage: Storage, at: list[str], opened: MediaStore) -> None:
    opened.create()
    with old_enough():
        assert "no catalog yet" in refused(fsmedia("catalog", "show", *at), 3)
        tells(exits(0, "catalog", "refresh", *at).stdout, "nothing written")
        opened.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1"))
        done = exits(0, "catalog", "refresh", *at)
        tells(fsmedia("catalog", "refresh", "--threads", "2", *at).stdout, "nothing changed")
    (key,) = snapshots(storage)
    tells(done.stdout, "1 media, 1 sidecars read, 0 rows removed, a new snapshot", key)
    if storage.name == LOCAL:
        file = Path(storage.url, key)
        assert [stat.S_IMODE(each.stat().st_mode) for each in (file, file.parent)] == [0o600, 0o750]
    (shown,) = answers("catalog", "show", *at)
    assert (shown["media"], shown["problems"], shown["columns"][0]["name"]) == (1, 0, "reference")
    assert shown["file"].endswith(key)
    tells(fsmedia("catalog", "show", *at).stdout, "1 media, as of", "size_bytes")
    (told,) = answers("catalog", "refresh", *at)
    assert (told["media"], told["snapshot"], told["file"]) == (1, snapshots(storage)[-1], told["file"])


def test_damage_is_told(url: str, local_storage: LocalStorage) -> None:
    references = [put(url), put(url)]
    for each in references:
        local_storage.write(f"{each}.meta", b"{")
    done = exits(0, "catalog", "refresh", "-s", url)
    assert done.stderr.count("warning: ") == 2
    tells(done.stderr, *references)
    tells(fsmedia("stats", "-s", url).stderr, "2 sidecars can't be read")


# -- query ---------------------------------------------------------------------------------------------------------


def test_bytes_of_images_per_run_that_expire_this_week(url: str, local_storage: LocalStorage) -> None:
    """In one line, by `fsmedia catalog query`, and by DuckDB alone on the Parquet file."""
    wanted = weekly(url)
    query = ("catalog", "query", "-s", url, WEEK)
    assert {row["run_id"]: row["bytes"] for row in answers(*query)} == wanted
    table = fsmedia(*query).stdout.splitlines()
    assert [line.split() for line in table] == [["run_id", "bytes"], *([run, str(n)] for run, n in wanted.items())]
    rows = csv.DictReader(io.StringIO(fsmedia(*query, "--csv").stdout))
    assert {row["run_id"]: int(row["bytes"]) for row in rows} == wanted
    file = Path(url) / snapshots(local_storage)[-1]
    assert dict(duckdb.sql(WEEK.replace("media", f"'{file}'")).fetchall()) == wanted


def test_attributes_are_shown_and_asked(url: str) -> None:
    put(url, attributes={"model": "gpt-1", "score": 4, "tags": [HOSTILE], "mood": True})
    put(url, attributes={"model": "flux", "score": 4.5, "mood": HOSTILE})
    exits(0, "catalog", "refresh", "-s", url)
    (shown,) = answers("catalog", "show", "-s", url)
    kinds = {"model": "string", "mood": "mixed", "score": "double", "tags": "list"}
    assert shown["attributes"] == kinds
    table = [line.split()[:2] for line in fsmedia("catalog", "show", "-s", url).stdout.splitlines()]
    assert all([f"attributes['{name}']", kind] in table for name, kind in kinds.items())
    query = ("catalog", "query", "-s", url, "select attributes a from media where attributes['model'] like 'gpt-%'")
    assert answers(*query) == [{"a": {"model": "gpt-1", "mood": "true", "score": 4.0, "tags": [HOSTILE]}}]
    harmless(fsmedia(*query).stdout)


def test_what_comes_out_is_what_was_stored(url: str) -> None:
    put(url, caption=HOSTILE, run_id=HOSTILE)
    wanted = MediaStore(url).info(next(MediaStore(url).list()))
    query = ("catalog", "query", "-s", url, "select * from media")
    (row,) = answers(*query)
    assert (row["caption"], row["run_id"], row["size_bytes"]) == (HOSTILE, HOSTILE, wanted.size_bytes)
    assert row["timestamp"] == wanted.model_dump(mode="json")["timestamp"]
    (row,) = csv.DictReader(io.StringIO(fsmedia(*query, "--csv").stdout))
    assert (row["caption"], row["policy_name"]) == (HOSTILE, "")
    for text in (fsmedia(*query).stdout, fsmedia("stats", "-s", url).stdout):
        tells(harmless(text), "[red]x[/red]")


def test_values_of_every_kind(url: str) -> None:
    put(url)
    sql = (
        "select [1, 2] l, {'a': now()} s, 1.5 d, sum(size_bytes) n, 'nan'::double x, blob 'ab' b, interval 3 days i, "
        "date '2026-03-04' as day, null as nothing, true t, uuid() u, map {'k': 1} m from media"
    )
    (row,) = answers("catalog", "query", "-s", url, sql)
    assert (row["l"], row["d"], row["n"], row["x"], row["b"], row["i"]) == ([1, 2], 1.5, 10, None, "6162", 259200.0)
    assert (row["day"], row["nothing"], row["t"], row["m"]) == ("2026-03-04", None, True, {"k": 1})
    assert row["s"]["a"].endswith("Z")
    for words in ([], ["--csv"]):
        exits(0, "catalog", "query", "-s", url, sql, *words)


def test_a_query_has_a_limit_and_a_folder_of_its_own(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sql = "select name, value from duckdb_settings() where name in ('memory_limit', 'temp_directory')"
    said = {row["name"]: row["value"] for row in answers("catalog", "query", "-s", url, sql)}
    assert said["memory_limit"] == "1.0 GiB"
    assert said["temp_directory"].startswith(str(tmp_path))
    rows = "select hash(range)::varchar || repeat('x', 2000) t from range(700_000)"
    (row,) = answers(
        "catalog", "query", "-s", url, f"select count(*) n from (select t from ({rows}) order by t, t offset 9)"
    )
    assert row["n"] == 699_991
    assert list(tmp_path.glob("fsmedia-query-*")) == []


def test_names_of_columns_command_no_terminal(url: str, tmp_path: Path) -> None:
    MediaStore(url).create()
    sql = 'select 1 as "\x1b]0;owned\x07"'
    for form in ("--csv", "--json"):
        code, shown = on_terminal("catalog", "query", form, sql, "-s", url, cwd=tmp_path)
        assert (code, b"\x1b]0" in shown, b"owned" in shown) == (0, False, True), shown


def test_limits_standard_input_and_tables_that_are_cut(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        put(url)
    query, sql = ("catalog", "query", "-s", url), "select reference from media"
    assert len(answers(*query, "-", "--limit", "2", stdin=sql.encode())) == 2
    assert fsmedia(*query, sql, "--limit", "0", "--csv").stdout == "reference\n"
    tells(fsmedia(*query, "select 1 from media where false").stderr, "no rows")
    monkeypatch.setattr(cmd_catalog, "_SHOWN", 5)
    result = fsmedia(*query, "select range from range(9)")
    assert (len(result.stdout.splitlines()), "more than 5 rows" in result.stderr) == (6, True)


def test_a_catalog_as_it_is(url: str, local_storage: LocalStorage) -> None:
    query = ("catalog", "query", "-s", url, "select count(*) n from media")
    MediaStore(url).create()
    assert "no catalog yet" in refused(fsmedia(*query, "--no-refresh"), 3)
    put(url)
    fsmedia("catalog", "refresh", "-s", url)
    put(url)
    before = local_storage.keys()
    assert answers(*query, "--no-refresh") == [{"n": 1}]
    assert answers("stats", "-s", url, "--no-refresh")[0]["media"] == 1
    assert local_storage.keys() == before
    assert answers(*query) == [{"n": 2}]


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a store with a catalog that nobody writes to."""
    url = str(tmp_path_factory.mktemp("catalogued") / "media")
    put(url)
    fsmedia("catalog", "refresh", "-s", url)
    return url


@pytest.mark.parametrize(
    "sql",
    [
        "select * from '{file}'", "select * from read_text('{file}')", "select * from read_csv('{file}')",
        "copy media to '{file}'", "attach '{file}'", "install httpfs", "load '{file}'", "select * from glob('*')",
        "set enable_external_access = true", "reset lock_configuration; select * from read_text('{file}')",
        "export database '{file}'", "select * from found", "select * from read_parquet('https://example.com/x')",
        "create secret (type s3)", "import database '{file}'", "pragma enable_profiling; set profiling_output='{file}'",
        "copy (select 1) to '{file}' (format parquet)", "select * from duckdb_secrets()",
    ],
)  # fmt: skip
def test_a_strangers_sql_sees_nothing_else(catalogued: str, sql: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hunter22")
    before = [sorted(os.walk(folder)) for folder in (tmp_path, catalogued)]
    result = fsmedia("catalog", "query", "-s", catalogued, "--no-refresh", sql.format(file=secret))
    assert "hunter22" not in result.output.replace(sql.format(file=secret), "")
    assert sql.startswith("create secret") or refused(result, 1)
    assert secret.read_text() == "hunter22"
    assert [sorted(os.walk(folder)) for folder in (tmp_path, catalogued)] == before


def test_wrong_usage_and_what_is_not_installed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url)
    assert "syntax error" in refused(fsmedia("catalog", "query", "-s", url, "selec"), 1)
    assert "size_bites" in refused(fsmedia("catalog", "query", "-s", url, "select size_bites from media"), 1)
    refused(fsmedia("catalog", "query", "-s", url, " "), 2)
    refused(fsmedia("catalog", "query", "-s", url, "select 1", "--json", "--csv"), 2)
    for missing, line in (("duckdb", "catalog query 1"), ("pyarrow", "stats"), ("pyarrow", "catalog refresh")):
        monkeypatch.setitem(sys.modules, missing, None)
        assert "pip install pyarrow duckdb" in refused(fsmedia(*line.split(), "-s", url), 1)


def test_a_store_that_may_only_be_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no right to write can still ask: the catalog is then brought up to date in memory."""
    put(url)

    def refusing(*_: object) -> str:
        raise StorageError("access denied", key=".fsmedia/catalog/x")

    monkeypatch.setattr(room, "publish", refusing)
    result = exits(0, "catalog", "query", "-s", url, "select count(*) n from media", "--json")
    assert json.loads(result.stdout) == {"n": 1}
    tells(result.stderr, "trying again without writing", "access denied")
    tells(fsmedia("stats", "-s", url).stdout, "1 media")
    assert "access denied" in refused(fsmedia("catalog", "refresh", "-s", url), 1)


# -- stats ---------------------------------------------------------------------------------------------------------


def test_stats(url: str) -> None:
    wanted, none = weekly(url), f"{url}-none"
    text = fsmedia("stats", "-s", url, "--top", "2").stdout
    tells(text, f"7 media, {7 * len(PNG)} B, as of ", "2 other policies", "media by run")
    (found,) = answers("stats", "-s", url)
    assert found["expires_within_week"]["bytes"] == sum(wanted.values()) + len(PNG)  # and the text of r3
    assert found["expired"]["media"] == 1
    assert {each["name"] for each in found["by_policy"]} >= {None, "retain-3days"}
    assert "no store at" in refused(fsmedia("stats", "-s", none), 3)
    assert not Path(none).exists()
    MediaStore(none).create()
    tells(fsmedia("stats", "-s", none).stdout, "0 media")
    reference = next(MediaStore(url).list())
    Path(url, f"{reference}.meta").write_text("{broken")
    told = fsmedia("stats", "-s", url)
    assert told.stderr == "warning: 1 sidecars can't be read: fsmedia catalog query shows the column problem\n"


def test_stats_tell_what_is_stored_of_shared_bytes(url: str) -> None:
    store = MediaStore(url, deduplicate=True).create()
    for number in range(3):
        store.store_media(MediaContent.from_bytes(bytes(1024), "text/plain"), MediaMetadata(run_id=f"r{number}"))
    assert "3.0 KiB, stored in 1.0 KiB: deduplication saves 2.0 KiB, as of " in fsmedia("stats", "-s", url).stdout
