"""Commands between stores and the world: import, export, sync, externalize and inline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsmedia import MediaStore
from fsmedia.cli import cmd_messages
from fsmedia.format import keys
from tests.contract.specimens import traces
from tests.exchange.conftest import inline, part, real, write
from tests.exchange.test_folder import plant
from tests.messages import OPENAI_CHAT, PNG, b64
from tests.storages import LocalStorage, S3Storage, Storage
from tests.surfaces.commands import HOSTILE, exits, fsmedia, on_terminal, options_of, put, refused

# -- import ------------------------------------------------------------------------------------------------


def test_import_says_what_it_would_do_does_it_and_says_so(url: str, tmp_path: Path) -> None:
    out = real(tmp_path)
    dry = exits(0, "import", "promptarena", out, "-s", url, "-n")
    assert "would store 7 (271.1 KiB; 4 of them, 112.4 KiB, have bytes that are there already)" in dry.stdout
    assert not Path(url).exists()
    done = exits(0, "import", "promptarena", out, "-s", url)
    assert "stored 7 (" in done.stdout
    again = fsmedia("import", "--store", url, "promptarena", out)
    assert "stored 0 (" in again.stdout
    assert "7 unchanged" in again.stdout
    assert len(list(MediaStore(url).list())) == 7


def test_import_as_json(url: str, tmp_path: Path) -> None:
    write(tmp_path / "out", "r", [inline(), part(url="http://x/y.png"), part(data="?")])
    result = exits(1, "import", "promptarena", tmp_path / "out", "-s", url, "--json")
    report = json.loads(result.stdout)
    (stored,) = report["stored"]
    assert stored["source"] == "promptarena:r#Messages/0/parts/0"
    assert MediaStore(url).exists(stored["reference"])
    assert report["skipped"] == [
        {"source": "promptarena:r#Messages/0/parts/1", "reason": "names only a URL, and URLs are not fetched"}
    ]
    assert "base64" in report["failed"][0]["error"]
    assert report["took"] >= 0


def test_what_failed_is_told_line_by_line_without_control_characters(url: str, tmp_path: Path) -> None:
    write(tmp_path / "out", HOSTILE, [part(data="?"), part(storage_reference=f"../{HOSTILE}"), inline()])
    result = exits(1, "import", "promptarena", tmp_path / "out", "-s", url)
    lines = result.stderr.splitlines()
    assert [line[:19] for line in lines] == ["error: promptarena:"] * 2
    assert [f"#Messages/0/parts/{n}: " in line for n, line in enumerate(lines)] == [True, True]
    assert "\x1b" not in result.output
    assert "failed" in result.stdout


def test_import_folder_with_ids_and_pattern(url: str, tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a.png": PNG, f"{HOSTILE.replace('/', '')}.png": PNG, "deep/b.png": PNG})
    words = ("import", "folder", tree, "-s", url, "--pattern", "{name}{ext}")
    assert "put '{run_id}' into it" in refused(fsmedia(*words), 1)
    result = exits(0, *words, "--run", "r9", "--provider", "p", "--policy", "retain-30days")
    assert "skipped  1  its path does not match the pattern  folder:deep/b.png" in result.stdout
    plant(tree, {".hidden": PNG, **{f"deep/{number}.png": PNG for number in range(3)}})
    first, second, _ = fsmedia(*words, "--run", "r9").stdout.splitlines()
    assert first.split("  ", 1)[1].startswith("4  its path does not match the pattern  folder:deep/")
    assert first.endswith(" and 3 more")
    assert second.split() == ["skipped", "1", "is", "hidden", "folder:.hidden"]
    store = MediaStore(url)
    records = [store.info(each) for each in store.list(run_id="r9")]
    assert [(each.provider_id, each.policy_name) for each in records] == [("p", "retain-30days")] * 2


def test_a_tree_is_adopted(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"r1/a.png": PNG, "r1/b.png": PNG})
    words = ("adopt", "--pattern", "{run_id}/{name}{ext}", "-s", tree)
    dry = exits(0, *words, "--dry-run")
    assert "would store 2 (" in dry.stdout
    assert not (tree / ".fsmedia").exists()
    assert "no store at" in refused(fsmedia("adopt", "-s", tmp_path / "no"), 3)
    assert fsmedia(*words).exit_code == 0
    assert fsmedia("ls", "-s", tree).stdout.split() == ["r1/a.png", "r1/b.png"]
    assert "2 unchanged" in fsmedia(*words).stdout


def test_what_is_no_source_is_refused(url: str, tmp_path: Path) -> None:
    assert "no such folder" in refused(fsmedia("import", "folder", tmp_path / "no", "-s", url), 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.txt").write_text("x")
    assert "nothing was found" in fsmedia("import", "promptarena", tmp_path / "out", "-s", url).stderr
    assert not Path(url).exists()


# -- export ------------------------------------------------------------------------------------------------


@pytest.fixture
def imported(url: str, tmp_path: Path) -> str:
    """Give a store of the seven media of a real run."""
    fsmedia("import", "promptarena", real(tmp_path), "-s", url)
    return url


def test_export_says_what_it_would_do_does_it_and_says_so(
    imported: str, local_storage: LocalStorage, tmp_path: Path
) -> None:
    before = traces(local_storage)
    words = ("export", "imagefolder", tmp_path / "set", "-s", imported)
    dry = exits(0, *words, "--dry-run")
    assert "would export 6 (224.2 KiB)" in dry.stdout
    assert not (tmp_path / "set").exists()
    done = fsmedia(*words)
    assert "exported 6 (" in done.stdout
    assert "wrote  train/metadata.jsonl" in done.stdout
    assert "6 unchanged" in fsmedia(*words).stdout
    assert "lists media" in refused(fsmedia(*words, "--limit", "1"), 1)
    assert fsmedia(*words, "--limit", "1", "--overwrite").exit_code == 0
    assert traces(local_storage) == before


def test_export_as_json(imported: str, tmp_path: Path) -> None:
    for command, count in {"imagefolder": 6, "audiofolder": 1, "webdataset": 7}.items():
        out = tmp_path / command
        result = exits(0, "export", command, out, "-s", imported, "--since", "2026-01-01", "--json")
        report = json.loads(result.stdout)
        assert report["exported"] == count
        assert all((out / name).is_file() for name in report["files"])
        nothing = exits(0, "export", command, tmp_path / "none", "-s", imported, "--run", "nobody")
        assert "no media match" in nothing.stderr


def test_shards_of_a_size(imported: str, tmp_path: Path) -> None:
    for size, shards in (("1KB", 7), ("120KiB", 3), ("1GB", 1)):
        out = tmp_path / size
        exits(0, "export", "webdataset", out, "-s", imported, "--shard-size", size, "--prefix", "p")
        found = sorted(each.name for each in out.iterdir())
        assert (found[0], len(found)) == ("p-000000.tar", shards)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("webdataset x --shard-size much", 2, "--shard-size"),
        ("webdataset x --shard-size 0", 2, "--shard-size"),
        ("webdataset x --shard-count 0", 2, "--shard-count"),
        ("webdataset x --prefix a/b", 1, "prefix"),
        ("imagefolder x --split dev", 1, "split"),
        ("imagefolder x --since soon", 2, "--since"),
        ("imagefolder", 2, "DIR"),
        ("webdataset media/x", 1, "can't go into a store"),
    ],
)
def test_export_refuses_before_it_begins(
    line: str, code: int, said: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(url)
    monkeypatch.chdir(tmp_path)
    assert said in refused(fsmedia("export", *line.split(), "-s", url), code)
    assert not (tmp_path / "x").exists()


def test_export_tells_what_failed(url: str, local_storage: LocalStorage, tmp_path: Path) -> None:
    reference = put(url, data=PNG)
    local_storage.write(reference, b"damaged")
    result = exits(1, "export", "webdataset", tmp_path / "set", "-s", url)
    assert reference in result.stderr
    assert not (tmp_path / "set").exists()


# -- sync -----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_a_sync_then_does(url: str, local_storage: LocalStorage, tmp_path: Path) -> None:
    put(url, data=b"x" * 5000)
    extra = put(str(tmp_path / "there"), run_id="r9")
    before = traces(local_storage)
    dry = exits(0, "sync", url, tmp_path / "there", "--delete", "-n")
    assert "1 examined, would copy 1 (4.9 KiB)" in dry.stdout
    assert f"would delete  {extra}" in dry.stdout
    assert list(MediaStore(tmp_path / "there").list()) == [extra]
    done = exits(0, "sync", url, tmp_path / "there", "--delete")
    assert "1 examined, copied 1 (4.9 KiB at " in done.stdout
    assert "/s), updated 0, 0 unchanged, deleted 1, 0 skipped, 0 failed, in " in done.stdout
    assert f"deleted  {extra}" in done.stdout
    assert traces(local_storage) == before
    assert list(MediaStore(tmp_path / "there").list()) == list(MediaStore(url).list())


def test_to_s3_and_back(url: str, rclone_storage: S3Storage, tmp_path: Path) -> None:
    reference = put(url)
    options = options_of(rclone_storage)
    there = [word.replace("--option", "--to-option") for word in options]
    done = exits(0, "sync", url, rclone_storage.url, *there, "--threads", "2", "--json")
    told = json.loads(done.stdout)
    assert (told["copied"], told["target"], told["failed"], told["moved"]) == (1, rclone_storage.url, [], [])
    back = exits(0, "sync", rclone_storage.url, tmp_path / "back", *options, "--verify-copies", "read")
    assert MediaStore(tmp_path / "back").retrieve_media(reference).read_bytes() == b"some bytes"
    assert rclone_storage.options["secret"] not in done.output + back.output


def test_runs_and_new_references(url: str, tmp_path: Path) -> None:
    first, second, _ = (put(url, run_id=run, session_id="s") for run in ("r1", "r2", "r3"))
    mapping = tmp_path / "moved.jsonl"
    words = ["sync", url, tmp_path / "there", "--run", "r1", "--run", "r2", "--mapping", mapping]
    done = exits(0, *words, "--deduplicate", "--organization", "by-session")
    assert "2 examined, copied 2" in done.stdout
    assert f"new references  {keys.REFERENCES}" in done.stdout
    pairs = [json.loads(line) for line in mapping.read_text().splitlines()]
    assert [pair["old"] for pair in pairs] == [first, second]
    assert sorted(pair["new"] for pair in pairs) == sorted(MediaStore(tmp_path / "there").list())
    again = json.loads(fsmedia(*words, "--json").stdout)
    assert (again["unchanged"], again["moved"]) == (2, pairs)


def test_what_fails_and_what_is_left_out(url: str, tmp_path: Path) -> None:
    broken, bare = put(url), put(url, data=b"other")
    Path(url, broken).write_bytes(b"SOME BYTES")
    done = exits(1, "sync", url, tmp_path / "there")
    assert done.stderr.startswith(f"error: {broken}: ")
    assert "1 failed" in done.stdout
    left = exits(0, "sync", url, tmp_path / "sessions", "--organization", "by-session")
    assert f"skipped  {bare}  has no session_id" in left.stdout
    with_id = exits(1, "sync", url, tmp_path / "sessions", "--missing-id", "none", "--json")
    assert len(json.loads(with_id.stdout)["failed"]) == 1
    assert with_id.stderr.count(broken) == 1


def test_wrong_words_are_refused(url: str, tmp_path: Path) -> None:
    assert "no store at" in refused(fsmedia("sync", tmp_path / "typo", url, "--delete"), 3)
    put(url)
    assert "one place" in refused(fsmedia("sync", url, Path(url) / "in", "--delete"), 1)
    assert "nothing to hold" in refused(fsmedia("sync", url, tmp_path / "x", "-n", "--mapping", tmp_path / "m"), 2)
    assert "--layout" in refused(fsmedia("sync", url, tmp_path / "x", "--layout", "nothing"), 2)
    assert "verify_copies" in refused(fsmedia("sync", url, tmp_path / "x", "--verify-copies", "never"), 1)
    secret = "hunter22hunter22"
    assert secret not in fsmedia("sync", url, "s3://b/x", "--to-option", f"secrt={secret}").output
    assert not (tmp_path / "x").exists()


def test_hostile_names_command_no_terminal(url: str, tmp_path: Path) -> None:
    put(url, run_id=HOSTILE)
    foreign = Path(url, "runs/r1") / HOSTILE.replace("/", "")
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"x")
    done = fsmedia("sync", url, tmp_path / "s", "--organization", "by-session")
    back = fsmedia("sync", url, tmp_path / "there")
    for text in (done.output, back.output):
        assert "\x1b" not in text
        assert "\ninjected" not in text
    assert ("2 skipped" in done.stdout, back.exit_code) == (True, 0)
    code, shown = on_terminal("sync", url, str(tmp_path / "other"), cwd=tmp_path, width=200)
    assert (code, b"syncing" in shown, b"2 examined, copied 2" in shown) == (0, True, True)


def test_removing_by_an_old_name_says_the_present_one(url: str, tmp_path: Path) -> None:
    put(url, run_id="r1", session_id="s")
    report = MediaStore(url).sync_to(str(tmp_path / "there"), organization="by-session")
    ((old, new),) = report.moved
    done = exits(3, "rm", old, "--store", tmp_path / "there")
    assert new in done.stderr.replace("\n", "")
    assert "deleted" not in done.stdout
    assert list(MediaStore(tmp_path / "there").list()) == [new]


# -- externalize, inline --------------------------------------------------------------------------------------


TEXT = "\ufeff" + json.dumps(OPENAI_CHAT, indent=1) + "\r\n"


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    file = tmp_path / "chat.json"
    file.write_bytes(TEXT.encode())
    file.chmod(0o640)
    return file


def test_there_and_back(storage: Storage, chat: Path, tmp_path: Path) -> None:
    options = ["-s", storage.url, *options_of(storage)]
    small, back = tmp_path / "small.json", tmp_path / "back.json"
    dry = exits(0, "messages", "externalize", chat, "--run", "r1", "--dry-run", *options)
    assert dry.stdout.count("would take out") == 5
    assert storage.keys() == set()
    done = fsmedia("messages", "externalize", chat, "--run", "r1", "-o", small, *options)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "took out 5 media" in done.stderr
    assert small.stat().st_size < chat.stat().st_size + 1000
    assert b64(PNG) not in small.read_text().replace("not a media", "")
    assert fsmedia("messages", "inline", small, "-o", back, *options).exit_code == 0
    assert back.read_bytes() == chat.read_bytes() == TEXT.encode()


def test_in_place_and_through_pipes(url: str, chat: Path) -> None:
    piped = exits(0, "messages", "externalize", "-", "--run", "r1", "-s", url, stdin=TEXT.encode())
    again = fsmedia("messages", "inline", "-", "-s", url, stdin=piped.stdout_bytes)
    assert again.stdout_bytes == TEXT.encode()
    told = fsmedia("messages", "externalize", chat, "--run", "r1", "--in-place", "--json", "-s", url)
    answer = json.loads(told.stdout)
    assert [len(answer["taken_out"]), answer["already"]] == [5, 0]
    assert answer["taken_out"][0]["reference"].startswith("runs/r1/0001_01_")
    assert chat.stat().st_mode & 0o777 == 0o640
    assert "media://" in chat.read_text()
    assert fsmedia("messages", "inline", chat, "--in-place", "-s", url).exit_code == 0
    assert chat.read_bytes() == TEXT.encode()
    assert not [path for path in chat.parent.iterdir() if keys.is_temporary(path.name)]


def test_lines_of_json_are_messages(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    part = {"role": "user", "content": [{"type": "text"}, {"inlineData": {"mimeType": "image/png", "data": b64(PNG)}}]}
    lines = [json.dumps(part), json.dumps(part).replace(b64(PNG), b64(PNG + b"2"))]
    log.write_text("\n".join(lines))
    exits(0, "messages", "externalize", log, "--run", "r1", "--in-place", "-s", url)
    places = [(record.message_idx, record.part_idx) for record in map(MediaStore(url).info, MediaStore(url).list())]
    assert places == [(0, 1), (1, 1)]
    fsmedia("messages", "inline", log, "--in-place", "-s", url)
    assert log.read_text() == "\n".join(lines)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "line 1, column 2"), (b"\xff\xfe{\0}\0", "no UTF-8"), (b"[" * 100_000, "levels deep"), (b"", "line 1"),
        (b'{"a": "\xc3("}', "no UTF-8 at byte 7"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_in_one_line(url: str, tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(data)
    MediaStore(url).create()
    for words in (["messages", "externalize", file, "--run", "r1"], ["messages", "inline", file]):
        assert said in refused(fsmedia(*words, "--in-place", "-s", url), 1)
    assert file.read_bytes() == data


def test_wrong_usage_is_refused(url: str, chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ([chat, "-o", tmp_path / "x"], ["-"]):
        assert "--in-place" in refused(fsmedia("messages", "inline", *words, "--in-place", "-s", url), 2)
    for words in (["messages", "inline"], ["messages", "externalize", "--run", "r1"]):
        assert "none.json: No such file" in refused(fsmedia(*words, tmp_path / "none.json", "-s", url), 3)
    monkeypatch.setattr(cmd_messages, "LARGEST_DOCUMENT", 100)
    assert "larger than" in refused(fsmedia("messages", "externalize", chat, "--run", "r1", "-s", url), 1)


def test_a_failure_leaves_the_file_as_it_was(url: str, chat: Path, local_storage: LocalStorage) -> None:
    other = f"{url}-blocked"
    MediaStore(other).create()
    Path(other, "runs").write_text("a file, where the folder should be")
    failed = exits(1, "messages", "externalize", chat, "--run", "r1", "--in-place", "-s", other)
    assert "5 media could not be stored" in failed.stderr
    assert chat.read_bytes() == TEXT.encode()
    fsmedia("messages", "externalize", chat, "--run", "r1", "--in-place", "-s", url)
    small, store = chat.read_bytes(), MediaStore(url)
    gone = next(store.list())
    store.delete_media(gone)
    before = traces(local_storage)
    failed = fsmedia("messages", "inline", chat, "--in-place", "-s", url)
    assert (failed.exit_code, gone in failed.stderr) == (3, True)
    assert chat.read_bytes() == small
    assert traces(local_storage) == before


def test_json_and_messages_do_not_share_standard_output(url: str, chat: Path, tmp_path: Path) -> None:
    for words in (["inline"], ["externalize", "--run", "r1"]):
        assert "add -o or --in-place" in refused(fsmedia("messages", *words, chat, "--json", "-s", url), 2)
    done = fsmedia("messages", "externalize", chat, "--run", "r1", "--json", "-o", tmp_path / "small.json", "-s", url)
    assert len(json.loads(done.stdout)["taken_out"]) == 5
    done = fsmedia("messages", "inline", tmp_path / "small.json", "--json", "-o", tmp_path / "back.json", "-s", url)
    assert json.loads(done.stdout)["path"] == str(tmp_path / "back.json")
