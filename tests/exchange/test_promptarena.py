"""PromptArena's results become media with all that is known of them; strangers' results lead nowhere else."""

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaError, MediaNotFoundError, MediaRecord, MediaStore, import_promptarena
from fsmedia.exchange import promptarena
from tests.contract.specimens import raised
from tests.exchange.conftest import AGAIN, CALL, CALL_DIGEST, MAP_DIGEST, MAPS, PNG, inline, part, real, write
from tests.exchange.test_folder import plant
from tests.storages import Storage

SECRET = "root:x:0:0"
NAMES_OUT = [
    "../secret.png", "media/../../secret.png", "out/media/link.png", "media/up/secret.png", "media/pipe.png", "media",
    "good.png", "/etc/passwd", "file:///etc/passwd", "s3://bucket/x/y.png", "media/good.png.meta",
    "media/.fsmedia/store.json", "a/" * 70 + "good.png", "media/x\0.png", "", " ", "~/.ssh/id_rsa", 7,
    ["media/good.png"], {"media": "good.png"},
]  # fmt: skip
WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"mime_type": "image/png\r\nX-Evil: 1"}, "mime_type"), ({"mime_type": ["image/png"]}, "mime_type"),
    ({"width": -1}, "width"), ({"width": "wide"}, "width"), ({"caption": "x" * 70_000}, "caption"),
    ({"policy_name": "for ever"}, "for ever"), ({"policy_name": {"a": 1}}, "policy_name"),
    ({"duration": 1e400}, "duration"),
]  # fmt: skip
SHAPES = [
    "", "{", "[" * 100_000, '{"a":' * 100_000, "null", "[]", '"RunID"', "{}", '{"RunID": 7, "Messages": []}',
    '{"RunID": "", "Messages": []}', '{"RunID": "r", "Messages": 7}', '{"RunID": "r", "Messages": {"parts": []}}',
    '{"RunID": "r", "Messages": [7, null, "x", []]}',
    '{"RunID": "r", "Messages": [{"parts": 7, "tool_result": 7}, {"parts": [7, null, {"type": "image"}]}]}',
    '{"RunID": "r", "Messages": [{"parts": [{"type": "image", "media": 7}], "timestamp": "soon"}]}',
    '{"RunID": "r", "Messages": [], "MediaOutputs": {"a": 1}}', "\xff\xfe",
]  # fmt: skip


def by_place(store: MediaStore, run: str) -> dict[tuple[int, int], MediaRecord]:
    return {(each.message_idx, each.part_idx): each for each in map(store.info, store.list(run_id=run))}


def test_what_promptarena_left_is_read_with_all_its_quirks_and_once(store, storage: Storage, tmp_path: Path) -> None:
    report = import_promptarena(store, real(tmp_path))
    assert (report.failed, report.skipped) == ((), ())
    small = 268
    assert (report.examined, report.bytes) == (7, 4 * small + 2 * 114268 + 48044)
    assert (report.duplicates, report.duplicate_bytes) == (4, 3 * small + 114268)
    assert len(report.stored) == len(list(store.list())) == 7
    # The first run drew the map, the second one got PromptKit's copy of the first: each has its own here.
    for run, provider in ((MAPS, "openai-gpt4o"), (AGAIN, "gemini-flash")):
        found = by_place(store, run)
        assert sorted(found) == [(1, 1), (2, 1), (3, 1)]
        drawn = found[2, 1]
        facts = (drawn.sha256, drawn.size_bytes, drawn.width, drawn.height, drawn.policy_name, drawn.expires_at)
        assert facts == (MAP_DIGEST, 114268, 200, 190, "retain", None)
        assert (drawn.provider_id, drawn.conversation_id) == (provider, run)
        assert (found[1, 1].detail, found[1, 1].provider_id) == ("low", "")  # the user showed it
    assert by_place(store, MAPS)[2, 1].timestamp == datetime(2026, 3, 4, 5, 6, 9, 123456, tzinfo=UTC)  # the sidecar's
    assert by_place(store, AGAIN)[2, 1].timestamp == datetime(2026, 3, 4, 5, 6, 10, tzinfo=UTC)  # the message's
    spoken = by_place(store, CALL)[1, 0]
    facts = (spoken.mime_type, spoken.sha256, spoken.size_bytes, spoken.duration, spoken.channels)
    assert facts == ("audio/wav", CALL_DIGEST, 48044, 1, 1)
    assert store.retrieve_media(spoken.reference).read_bytes()[:4] == b"RIFF"
    sources = {each.source: each.reference for each in report.stored}
    tool = f"promptarena:{MAPS}#Messages/3/tool_result/parts/1"
    about = {"source": tool, "scenario": "draw-a-map", "region": "us", "prompt_pack": "maps.pack.json"}
    assert store.info(sources[tool]).attributes == about
    drew = f"promptarena:{MAPS}#Messages/2/parts/1"
    assert store.info(sources[drew]).attributes == {**about, "source": drew, "finish_reason": "stop"}
    # An older version wrote only the source: what it imported is known again.
    store.fs.setxattrs(sources[drew], dict.fromkeys(("user.scenario", "user.region", "user.finish_reason")))
    # A second import changes nothing, from another place too.
    before = storage.contents()
    again = import_promptarena(store, tmp_path / "out")
    assert (again.stored, again.unchanged, again.duplicates) == ((), 7, 0)
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert import_promptarena(MediaStore(storage.url, storage_options=storage.options), moved).unchanged == 7
    assert storage.contents() == before


def test_a_dry_run_plans_and_refuses_the_same_and_writes_nothing(store, storage: Storage, tmp_path: Path) -> None:
    out = real(tmp_path)
    write(out, "", [inline()])
    write(out, "r", [part(data="?"), inline(), inline(policy_name="keep-forever")])
    planned = import_promptarena(store, out, dry_run=True)
    assert storage.keys() == set()
    done = import_promptarena(store, out)
    assert [each.source for each in planned.stored] == [each.source for each in done.stored]
    assert {each.reference for each in planned.stored} == {""}
    fields = ("examined", "bytes", "unchanged", "duplicates", "duplicate_bytes", "skipped")
    assert all(getattr(planned, name) == getattr(done, name) for name in fields)
    refused = [[str(each.error) for each in report.failed] for report in (planned, done)]
    assert refused[0] == refused[1]
    assert ["keep-forever" in each for each in refused[0]] == [False, False, True]
    assert str(planned).startswith("11 examined, would store 8 ")
    assert import_promptarena(store, out, dry_run=True).stored == ()


def test_the_source_may_lie_on_any_storage(storage: Storage, memory: MediaStore, tmp_path: Path) -> None:
    out = real(tmp_path)
    for file in out.rglob("*"):
        if file.is_file():
            storage.write(file.relative_to(out).as_posix(), file.read_bytes())
    report = import_promptarena(memory, storage.url, storage_options=storage.options)
    assert (len(report.stored), report.failed) == (7, ())


def test_one_result_alone_with_policy_and_progress(memory: MediaStore, tmp_path: Path) -> None:
    out = real(tmp_path)
    report = import_promptarena(memory, out / f"{CALL}.json")
    assert [memory.info(each.reference).run_id for each in report.stored] == [CALL]
    seen: list[int] = []
    report = import_promptarena(memory, out, policy_name="retain-30days", progress=seen.append)
    assert seen == list(range(1, 8))
    record = memory.info(report.stored[0].reference)
    assert record.expires_at == record.timestamp + timedelta(days=30)
    raised(MediaNotFoundError, import_promptarena, memory, tmp_path / "nowhere", match="no such folder")


def test_a_result_that_changed_adds_what_is_new(memory: MediaStore, tmp_path: Path) -> None:
    file = write(tmp_path / "out", "r", [inline()])
    import_promptarena(memory, file.parent)
    document = json.loads(file.read_text())
    document["Messages"][0]["parts"] += [inline(PNG + b"more"), inline()]
    file.write_text(json.dumps(document))
    report = import_promptarena(memory, file.parent)
    assert (len(report.stored), report.unchanged, report.duplicates) == (2, 1, 1)
    assert [memory.retrieve_media(each).read_bytes() for each in memory.list()] == [PNG, PNG + b"more", PNG]


@pytest.mark.parametrize("mode", ["by-run", "by-conversation", "by-session"])
@pytest.mark.parametrize("deduplicate", [True, False])
def test_every_kind_of_store_knows_again(memory_storage: Storage, tmp_path: Path, mode: str, deduplicate: bool) -> None:
    store = MediaStore(memory_storage.url, organization=mode, deduplicate=deduplicate)
    out = real(tmp_path)
    assert len(import_promptarena(store, out).stored) == 7
    assert not deduplicate or sum("/data/" in key for key in memory_storage.keys()) == 3  # noqa: SIM118 - no dict
    # Raw sound inside a result too, which is wrapped.
    write(out, "r", [inline(b"\1\2" * 400, mime_type="audio/pcm"), inline(b"\1", mime_type="audio/pcm")])
    sounds = import_promptarena(store, out).stored
    assert [store.info(each.reference).mime_type for each in sounds] == ["audio/wav"] * 2
    assert import_promptarena(store, out).unchanged == 9


def test_what_media_outputs_tell_fills_what_messages_leave_open(memory: MediaStore, tmp_path: Path) -> None:
    out = plant(tmp_path / "out", {"media/film.mp4": b"film"})
    video = {"type": "video", "mime_type": "video/mp4"}
    outputs = [
        {"Type": "image", "MIMEType": "image/png", "Duration": 3, "MessageIdx": 0, "PartIdx": 0},
        {**video, "file_path": "media/film.mp4", "message_index": 4, "part_index": 2},
        {**video, "message_index": 5, "part_index": 0}, "no object", {"message_index": "x"},
    ]  # fmt: skip
    write(out, "r", [inline()], MediaOutputs=outputs)
    report = import_promptarena(memory, out)
    drawn, film = (memory.info(each.reference) for each in report.stored)
    assert drawn.duration == 3
    assert (film.mime_type, film.message_idx, film.part_idx) == ("video/mp4", 4, 2)
    assert [each.reason for each in report.skipped] == ["MediaOutputs names it, and no message holds its bytes"]


def test_what_a_result_says_of_itself_is_kept_where_it_can_be(memory: MediaStore, tmp_path: Path) -> None:
    write(tmp_path, "r", [inline()], ScenarioID={"a": 1}, Region=["eu", "us"], PromptPack="x" * 70_000)
    (stored,) = import_promptarena(memory, tmp_path).stored
    assert memory.info(stored.reference).attributes == {"source": stored.source, "region": ["eu", "us"]}


def test_promptkits_own_store_is_not_imported_into_itself(tmp_path: Path) -> None:
    out = real(tmp_path)
    store = MediaStore(out / "media")
    report = import_promptarena(store, out)
    assert [each.reason for each in report.skipped] == ["is a media of this store and this run already"] * 2
    assert (len(report.stored), len(list(store.list(run_id=AGAIN)))) == (5, 3)
    assert import_promptarena(store, out).stored == ()


# -- strangers' results: nothing outside the folder is read, and the rest goes on --------------------------------
@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder of results beside a secret."""
    (tmp_path / "secret.png").write_text(SECRET)
    folder = plant(tmp_path / "out", {"media/good.png": PNG})
    (folder / "media" / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "media" / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "media" / "pipe.png")
    return folder


def test_no_name_leads_out_and_a_bare_one_is_not_taken_for_another(memory: MediaStore, out: Path) -> None:
    (out / "passwd").write_bytes(PNG)
    for number, name in enumerate(NAMES_OUT):
        write(out, f"r{number}", [part(storage_reference=name), part(file_path=name), inline()])
    report = import_promptarena(memory, out)
    wanted = {f"promptarena:r{number}#Messages/0/parts/2" for number in range(len(NAMES_OUT))}
    assert {each.source for each in report.stored} == wanted
    refused = [each.source.partition("#")[0] for each in (*report.failed, *report.skipped)]
    assert Counter(refused) == {f"promptarena:r{number}": 2 for number in range(len(NAMES_OUT))}
    text = " ".join([*(str(each.error) for each in report.failed), *(each.reason for each in report.skipped)])
    assert SECRET not in text
    assert all(memory.open(each).read() == PNG for each in memory.list())


def test_names_of_other_working_directories_are_found_and_urls_are_not_fetched(memory: MediaStore, out: Path) -> None:
    names = ["media/good.png", "./media/good.png", "out/media/good.png", "/srv/arena/out/media/good.png"]
    found = [part(storage_reference=name) for name in [*names, "out\\media\\good.png"]]
    write(out, "r", [*found, part(url="http://127.0.0.1:1/x.png"), part()])
    report = import_promptarena(memory, out)
    assert (len(report.stored), report.failed) == (5, ())
    reasons = ["names only a URL, and URLs are not fetched", "holds no bytes and names none"]
    assert [each.reason for each in report.skipped] == reasons


@pytest.mark.parametrize("data", ["?", "AAA", "AAAA=", "QUJD\u00e4", "QUJD QUJD", 7, ["QUJD"], {"a": 1}, "\ud800"])
def test_wrong_base64_is_refused_and_not_quoted(memory: MediaStore, out: Path, data: Any) -> None:
    write(out, "r", [part(data=data), inline()])
    report = import_promptarena(memory, out)
    assert len(report.stored) == (0 if data == "\ud800" else 1)  # a lone surrogate makes the document no JSON at all
    (failure,) = report.failed
    assert "base64" in str(failure.error) or data == "\ud800"
    assert str(data) not in str(failure.error)


def test_wrong_fields_are_refused_one_by_one(memory: MediaStore, out: Path) -> None:
    write(out, "r", [*(inline(**media) for media, _ in WRONG_FIELDS), inline()])
    report = import_promptarena(memory, out)
    assert [each.source for each in report.stored] == [f"promptarena:r#Messages/0/parts/{len(WRONG_FIELDS)}"]
    for failure, (_, said) in zip(sorted(report.failed, key=lambda each: each.source), WRONG_FIELDS, strict=True):
        assert said in str(failure.error)


@pytest.mark.parametrize("text", SHAPES)
def test_results_of_any_shape_are_passed_and_the_next_one_is_read(memory: MediaStore, out: Path, text: str) -> None:
    (out / "a.json").write_text(text, encoding="latin-1")
    write(out, "good", [inline()])
    report = import_promptarena(memory, out)
    assert [memory.info(each.reference).run_id for each in report.stored] == ["good"]
    assert all(len(str(each.error)) < 500 and str(each.error).isprintable() for each in report.failed)


def test_ids_of_any_form_stay_inside_and_one_too_long_for_any_store_is_refused(memory: MediaStore, out: Path) -> None:
    runs = ["../../x", "a/b", "é\n\x1b[31m", "x" * 3000, ".fsmedia", "."]
    for run in [*runs, "x" * 5000]:
        write(out, run, [inline()])
    report = import_promptarena(memory, out)
    assert [memory.info(each.reference).run_id for each in report.stored] == runs
    assert all(each.reference.startswith("runs/") for each in report.stored)
    assert ["run_id" in str(each.error) for each in report.failed] == [True]
    assert import_promptarena(memory, out).unchanged == len(runs)


def test_huge_results_are_refused_before_they_are_read(memory: MediaStore, out: Path, monkeypatch) -> None:
    monkeypatch.setattr(promptarena, "LARGEST_RESULT", 2000)
    write(out, "large", [inline(bytes(4000))])
    write(out, "small", [inline()])
    report = import_promptarena(memory, out)
    assert [memory.info(each.reference).run_id for each in report.stored] == ["small"]
    assert "more than 2000 bytes" in str(report.failed[0].error)


def test_bytes_that_are_not_what_their_name_promises_are_refused_and_damage_costs_what_it_says(memory, tmp_path):
    folder = real(tmp_path)
    for sidecar in folder.rglob("*.meta"):
        sidecar.write_text(json.dumps({"run_id": 7}))
    assert len(import_promptarena(memory, folder, dry_run=True).stored) == 7
    (sound,) = folder.rglob(f"{CALL_DIGEST}.wav")
    sound.write_bytes(sound.read_bytes()[:-10])
    report = import_promptarena(memory, folder)
    assert len(report.stored) == 6
    assert "not those that its name promises" in str(report.failed[0].error)


def test_a_result_at_the_top_of_the_machine_is_not_one_of_the_working_directory(memory, out: Path, monkeypatch) -> None:
    write(out, "r", [inline()])
    (name,) = (path.name for path in out.glob("*.json"))
    monkeypatch.chdir(out)
    assert len(import_promptarena(memory, name, dry_run=True).stored) == 1
    raised(MediaError, import_promptarena, memory, f"/{name}", match="the root of the file system")
