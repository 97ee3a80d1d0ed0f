"""Commands between stores and the world: import, export, sync, externalize and inline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsmedia import MediaStore
from fsmedia.format import keys
from tests.contract.specimens import traces
from tests.exchange.conftest import inline, part, real, write
from tests.exchange.test_folder import plant
from tests.messages import OPENAI_CHAT, PNG, b64
from tests.storages import LocalStorage, S3Storage, Storage
from tests.surfaces.commands import HOSTILE, answers, exits, fsmedia, harmless, options_of, put, refused, tells

# -- import ------------------------------------------------------------------------------------------------


def test_import_says_what_it_would_do_does_it_and_says_so(url: str, tmp_path: Path) -> None:
    words = ("import", "promptarena", real(tmp_path), "-s", url)
    dry = "would store 7 (271.1 KiB; 4 of them, 112.4 KiB, have bytes that are there already)"
    tells(exits(0, *words, "-n").stdout, dry)
    assert not Path(url).exists()
    tells(exits(0, *words).stdout, "stored 7 (")
    tells(exits(0, "import", "--store", url, *words[1:3]).stdout, "stored 0 (", "7 unchanged")
    assert len(list(MediaStore(url).list())) == 7


def test_import_as_json(url: str, tmp_path: Path) -> None:
    write(tmp_path / "out", "r", [inline(), part(url="http://x/y.png"), part(data="?")])
    (report,) = answers("import", "promptarena", tmp_path / "out", "-s", url, code=1)
    (stored,) = report["stored"]
    assert stored["source"] == "promptarena:r#Messages/0/parts/0"
    assert MediaStore(url).exists(stored["reference"])
    reason = "names only a URL, and URLs are not fetched"
    assert report["skipped"] == [{"source": "promptarena:r#Messages/0/parts/1", "reason": reason}]
    assert "base64" in report["failed"][0]["error"]
    assert report["took"] >= 0


def test_what_failed_is_told_line_by_line_without_control_characters(url: str, tmp_path: Path) -> None:
    write(tmp_path / "out", HOSTILE, [part(data="?"), part(storage_reference=f"../{HOSTILE}"), inline()])
    result = exits(1, "import", "promptarena", tmp_path / "out", "-s", url)
    first, second = result.stderr.splitlines()
    for number, line in enumerate((first, second)):
        assert line.startswith("error: promptarena:")
        tells(line, f"#Messages/0/parts/{number}: ")
    assert "\x1b" not in result.output
    tells(result.stdout, "failed")


def test_import_folder_with_ids_and_pattern(url: str, tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a.png": PNG, f"{HOSTILE.replace('/', '')}.png": PNG, "deep/b.png": PNG})
    words = ("import", "folder", tree, "-s", url, "--pattern", "{name}{ext}")
    assert "put '{run_id}' into it" in refused(fsmedia(*words), 1)
    result = exits(0, *words, "--run", "r9", "--provider", "p", "--policy", "retain-30days")
    assert "skipped  1  its path does not match the pattern  folder:deep/b.png" in result.stdout
    plant(tree, {"deep/c.png": PNG})
    tells(fsmedia(*words, "--run", "r9").stdout, "folder:deep/b.png and folder:deep/c.png")
    plant(tree, {".hidden": PNG, **{f"deep/{number}.png": PNG for number in range(3)}})
    first, second, _ = fsmedia(*words, "--run", "r9").stdout.splitlines()
    assert first.split("  ", 1)[1].startswith("5  its path does not match the pattern  folder:deep/")
    assert first.endswith(" and 4 more")
    assert second.split() == ["skipped", "1", "is", "hidden", "folder:.hidden"]
    store = MediaStore(url)
    records = [store.info(each) for each in store.list(run_id="r9")]
    assert [(each.provider_id, each.policy_name) for each in records] == [("p", "retain-30days")] * 2


def test_a_tree_is_adopted(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"r1/a.png": PNG, "r1/b.png": PNG})
    words = ("adopt", "--pattern", "{run_id}/{name}{ext}", "-s", tree)
    planned = exits(0, *words, "--dry-run").stdout.splitlines()
    assert planned[:2] == ["would adopt  r1/a.png", "would adopt  r1/b.png"]
    tells(planned[2], "2 examined, would adopt 2 (")
    assert not (tree / ".fsmedia").exists()
    assert "no store at" in refused(fsmedia("adopt", "-s", tmp_path / "no"), 3)
    done = exits(0, *words).stdout.splitlines()
    assert (done[:2], done[2][:23]) == (["adopted  r1/a.png", "adopted  r1/b.png"], "2 examined, adopted 2 (")
    assert fsmedia("ls", "-s", tree).stdout.split() == ["r1/a.png", "r1/b.png"]
    tells(fsmedia(*words).stdout, "2 unchanged")


def test_old_files_are_adopted_under_a_policy_only_by_an_explicit_wish(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"r1/a.png": PNG})
    words = ("adopt", "--pattern", "{run_id}/{name}{ext}", "--policy", "retain-30days", "-s", tree)
    planned = exits(0, *words, "--dry-run")
    tells(planned.stdout, "would adopt 1", "1 already due")
    tells(planned.stderr, "the next sweep deletes")
    assert answers(*words, "--dry-run")[0]["already_due"] == 1
    tells(refused(fsmedia(*words), 1), "1 file already due", "--allow-due")
    assert not (tree / ".fsmedia").exists()
    tells(exits(0, *words, "--allow-due").stdout, "adopted 1", "1 already due")
    # An import copies, so it only tells.
    other = plant(tmp_path / "other", {"r1/a.png": PNG})
    done = exits(0, "import", "folder", other, "--policy", "retain-30days", "-s", tmp_path / "copy")
    tells(done.stdout, "1 already due")
    tells(done.stderr, "the next sweep deletes")


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
    tells(exits(0, *words, "--dry-run").stdout, "would export 6 (224.2 KiB)")
    assert not (tmp_path / "set").exists()
    tells(fsmedia(*words).stdout, "exported 6 (", "wrote  train/metadata.jsonl")
    tells(fsmedia(*words).stdout, "6 unchanged")
    assert "lists media" in refused(fsmedia(*words, "--limit", "1"), 1)
    exits(0, *words, "--limit", "1", "--overwrite")
    assert traces(local_storage) == before


def test_export_as_json(imported: str, tmp_path: Path) -> None:
    for command, count in {"imagefolder": 6, "audiofolder": 1, "webdataset": 7}.items():
        out = tmp_path / command
        (report,) = answers("export", command, out, "-s", imported, "--since", "2026-01-01")
        assert report["exported"] == count
        assert all((out / name).is_file() for name in report["files"])
        nothing = exits(0, "export", command, tmp_path / "none", "-s", imported, "--run", "nobody")
        tells(nothing.stderr, "no media match")


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
    tells(exits(1, "export", "webdataset", tmp_path / "set", "-s", url).stderr, reference)
    assert not (tmp_path / "set").exists()


# -- sync -----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_a_sync_then_does(url: str, local_storage: LocalStorage, tmp_path: Path) -> None:
    put(url, data=b"x" * 5000)
    there = tmp_path / "there"
    extra = put(str(there), run_id="r9")
    before = traces(local_storage)
    dry = exits(0, "sync", url, there, "--delete", "-n")
    tells(dry.stdout, "1 examined, would copy 1 (4.9 KiB)", f"would delete  {extra}")
    assert list(MediaStore(there).list()) == [extra]
    counts = "/s), updated 0, 0 unchanged, deleted 1, 0 skipped, 0 failed, in "
    done = exits(0, "sync", url, there, "--delete")
    tells(done.stdout, "1 examined, copied 1 (4.9 KiB at ", counts, f"deleted  {extra}")
    assert traces(local_storage) == before
    assert list(MediaStore(there).list()) == list(MediaStore(url).list())


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
    mapping, there = tmp_path / "moved.jsonl", tmp_path / "there"
    words = ["sync", url, there, "--run", "r1", "--run", "r2", "--mapping", mapping]
    done = exits(0, *words, "--deduplicate", "--organization", "by-session")
    tells(done.stdout, "2 examined, copied 2", f"new references  {keys.REFERENCES}")
    pairs = [json.loads(line) for line in mapping.read_text().splitlines()]
    assert [pair["old"] for pair in pairs] == [first, second]
    assert sorted(pair["new"] for pair in pairs) == sorted(MediaStore(there).list())
    (again,) = answers(*words)
    assert (again["unchanged"], again["moved"]) == (2, pairs)
    gone = exits(3, "rm", first, "--store", there)  # its old name says the present one
    assert pairs[0]["new"] in gone.stderr.replace("\n", "")
    assert "deleted" not in gone.stdout
    assert len(list(MediaStore(there).list())) == 2


def test_what_fails_and_what_is_left_out(url: str, tmp_path: Path) -> None:
    broken, bare = put(url), put(url, data=b"other")
    Path(url, broken).write_bytes(b"SOME BYTES")
    done = exits(1, "sync", url, tmp_path / "there")
    assert done.stderr.startswith(f"error: {broken}: ")
    tells(done.stdout, "1 failed")
    by_session = ("sync", url, tmp_path / "sessions", "--organization", "by-session")
    tells(exits(0, *by_session).stdout, f"skipped  {bare}  has no session_id")
    with_id = exits(1, *by_session[:3], "--missing-id", "none", "--json")
    assert (len(json.loads(with_id.stdout)["failed"]), with_id.stderr.count(broken)) == (1, 1)


def test_wrong_words_are_refused(url: str, tmp_path: Path) -> None:
    assert "no store at" in refused(fsmedia("sync", tmp_path / "typo", url, "--delete"), 3)
    put(url)
    copy = tmp_path / "x"
    for code, said, *words in (
        (1, "one place", Path(url) / "in", "--delete"),
        (2, "nothing to hold", copy, "-n", "--mapping", tmp_path / "m"),
        (2, "--layout", copy, "--layout", "nothing"),
        (1, "verify_copies", copy, "--verify-copies", "never"),
    ):
        assert said in refused(fsmedia("sync", url, *words), code)
    secret = "hunter22hunter22"
    assert secret not in fsmedia("sync", url, "s3://b/x", "--to-option", f"secrt={secret}").output
    assert not copy.exists()


def test_hostile_names_command_no_terminal(url: str, local_storage: LocalStorage, tmp_path: Path) -> None:
    put(url, run_id=HOSTILE)
    local_storage.write(f"runs/r1/{HOSTILE.replace('/', '')}", b"x")
    done = fsmedia("sync", url, tmp_path / "s", "--organization", "by-session")
    tells(harmless(done.output), "2 skipped")
    harmless(exits(0, "sync", url, tmp_path / "there").output)


# -- externalize, inline --------------------------------------------------------------------------------------


TEXT = "\ufeff" + json.dumps(OPENAI_CHAT, indent=1) + "\r\n"


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    file = tmp_path / "chat.json"
    file.write_bytes(TEXT.encode())
    file.chmod(0o640)
    return file


def test_there_and_back(storage: Storage, at: list[str], chat: Path, tmp_path: Path) -> None:
    small, back = tmp_path / "small.json", tmp_path / "back.json"
    externalize = ["messages", "externalize", chat, "--run", "r1", *at]
    assert exits(0, *externalize, "--dry-run").stdout.count("would take out") == 6
    assert storage.keys() == set()
    done = exits(0, *externalize, "-o", small)
    assert (done.stdout, "took out 6 media" in done.stderr) == ("", True)
    assert small.stat().st_size < chat.stat().st_size + 1000
    assert b64(PNG) not in small.read_text()
    exits(0, "messages", "inline", small, "-o", back, *at)
    assert back.read_bytes() == chat.read_bytes() == TEXT.encode()


def test_urls_stand_where_the_api_takes_some(rclone_storage: S3Storage, chat: Path, url: str, tmp_path: Path) -> None:
    at, out = ["-s", rclone_storage.url, *options_of(rclone_storage)], tmp_path / "request.json"
    exits(0, "messages", "externalize", chat, "--run", "r1", "--in-place", *at)
    exits(0, "messages", "inline", chat, "--urls", "--expires", "15m", "-o", out, *at)
    made = json.loads(out.read_text(encoding="utf-8-sig"))
    assert "Expires=900&" in made["messages"][1]["content"][1]["image_url"]["url"]
    assert made["messages"][1]["content"][2] == OPENAI_CHAT["messages"][1]["content"][2]
    assert "nothing that names" in refused(fsmedia("messages", "inline", chat, "--urls", "--in-place", *at), 2)
    assert "--urls" in refused(fsmedia("messages", "inline", chat, "--expires", "1h", *at), 2)
    local = tmp_path / "local.json"
    exits(0, "messages", "inline", chat, "-o", out, *at)
    assert out.read_bytes() == TEXT.encode()
    exits(0, "messages", "externalize", out, "--run", "r1", "-o", local, "-s", url)
    assert "no provider" in refused(fsmedia("messages", "inline", local, "--urls", "-s", url), 1)


def test_in_place_and_through_pipes(url: str, chat: Path) -> None:
    piped = exits(0, "messages", "externalize", "-", "--run", "r1", "-s", url, stdin=TEXT.encode())
    again = fsmedia("messages", "inline", "-", "-s", url, stdin=piped.stdout_bytes)
    assert again.stdout_bytes == TEXT.encode()
    (told,) = answers("messages", "externalize", chat, "--run", "r1", "--in-place", "-s", url)
    assert [len(told["taken_out"]), told["already"]] == [6, 0]
    assert told["taken_out"][0]["reference"].startswith("runs/r1/0001_00_")
    assert chat.stat().st_mode & 0o777 == 0o640
    assert "media://" in chat.read_text()
    exits(0, "messages", "inline", chat, "--in-place", "-s", url)
    assert chat.read_bytes() == TEXT.encode()
    assert not [path for path in chat.parent.iterdir() if keys.is_temporary(path.name)]


def test_lines_of_json_are_messages(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    part = {"role": "user", "content": [{"type": "text"}, {"inlineData": {"mimeType": "image/png", "data": b64(PNG)}}]}
    text = f"{json.dumps(part)}\n{json.dumps(part).replace(b64(PNG), b64(PNG + b'2'))}"
    log.write_text(text)
    exits(0, "messages", "externalize", log, "--run", "r1", "--in-place", "-s", url)
    records = map(MediaStore(url).info, MediaStore(url).list())
    assert [(record.message_idx, record.part_idx) for record in records] == [(0, 1), (1, 1)]
    fsmedia("messages", "inline", log, "--in-place", "-s", url)
    assert log.read_text() == text


def test_what_stays_is_told_with_its_place(url: str, tmp_path: Path) -> None:
    chat, hidden = tmp_path / "chat.json", "x" + b64(bytes(9_000))
    chat.write_text(json.dumps([{"messages": [{"content": hidden}] * 30}, {"\x1b[31m": hidden}]))
    said = exits(0, "messages", "externalize", chat, "--run", "r1", "--in-place", "-s", url).stderr
    tells(said, "stays as it is: $[0].messages[0].content", "and 11 more", "took out 0 media", "31 stay as they are")
    harmless(said)
    (told,) = answers("messages", "externalize", chat, "--run", "r1", "--in-place", "-s", url)
    assert [len(told["kept"]), told["kept"][-1]] == [31, '$[1]["\\u001b[31m"]']


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


def test_wrong_usage_is_refused(url: str, chat: Path, tmp_path: Path) -> None:
    for words in ([chat, "-o", tmp_path / "x"], ["-"]):
        assert "--in-place" in refused(fsmedia("messages", "inline", *words, "--in-place", "-s", url), 2)
    for words in (["messages", "inline"], ["messages", "externalize", "--run", "r1"]):
        assert "none.json: No such file" in refused(fsmedia(*words, tmp_path / "none.json", "-s", url), 3)


def test_a_failure_leaves_the_file_as_it_was(url: str, chat: Path, local_storage: LocalStorage) -> None:
    other, externalize = f"{url}-blocked", ["messages", "externalize", chat, "--run", "r1", "--in-place", "-s"]
    MediaStore(other).create()
    Path(other, "runs").write_text("a file, where the folder should be")
    tells(exits(1, *externalize, other).stderr, "6 media could not be stored")
    assert chat.read_bytes() == TEXT.encode()
    fsmedia(*externalize, url)
    small, store = chat.read_bytes(), MediaStore(url)
    gone = next(store.list())
    store.delete_media(gone)
    before = traces(local_storage)
    tells(exits(3, "messages", "inline", chat, "--in-place", "-s", url).stderr, gone)
    assert chat.read_bytes() == small
    assert traces(local_storage) == before


def test_json_and_messages_do_not_share_standard_output(url: str, chat: Path, tmp_path: Path) -> None:
    for words in (["inline"], ["externalize", "--run", "r1"]):
        assert "add -o or --in-place" in refused(fsmedia("messages", *words, chat, "--json", "-s", url), 2)
    done = fsmedia("messages", "externalize", chat, "--run", "r1", "--json", "-o", tmp_path / "small.json", "-s", url)
    assert len(json.loads(done.stdout)["taken_out"]) == 6
    done = fsmedia("messages", "inline", tmp_path / "small.json", "--json", "-o", tmp_path / "back.json", "-s", url)
    assert json.loads(done.stdout)["path"] == str(tmp_path / "back.json")
