"""PromptArena's results become media of the run whose message shows them, with all that is known of them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaNotFoundError, MediaStore, import_promptarena
from tests.exchange.arena import AGAIN, CALL, CALL_DIGEST, MAP_DIGEST, MAPS, PNG, inline, part, real, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storages import Storage


def by_place(store: MediaStore, run: str) -> dict[tuple[int, int], object]:
    return {(each.message_idx, each.part_idx): each for each in map(store.info, store.list(run_id=run))}


def test_what_promptarena_left_is_read_with_all_its_quirks(store: MediaStore, tmp_path: Path) -> None:
    report = import_promptarena(store, real(tmp_path))
    assert report.failed == ()
    assert report.skipped == ()
    assert len(report.stored) == len(list(store.list())) == 7
    # The first run drew the map, the second one got PromptKit's copy of the first: each has its own here.
    for run, provider in ((MAPS, "openai-gpt4o"), (AGAIN, "gemini-flash")):
        found = by_place(store, run)
        assert sorted(found) == [(1, 1), (2, 1), (3, 1)]
        drawn = found[2, 1]
        assert (drawn.sha256, drawn.size_bytes) == (MAP_DIGEST, 114268)
        assert (drawn.width, drawn.height, drawn.policy_name) == (200, 190, "retain")
        assert (drawn.provider_id, drawn.conversation_id, drawn.expires_at) == (provider, run, None)
        assert found[1, 1].detail == "low"
        assert found[1, 1].provider_id == ""  # the user showed it
    assert by_place(store, MAPS)[2, 1].timestamp == datetime(2026, 3, 4, 5, 6, 9, 123456, tzinfo=UTC)  # the sidecar's
    assert by_place(store, AGAIN)[2, 1].timestamp == datetime(2026, 3, 4, 5, 6, 10, tzinfo=UTC)  # the message's
    spoken = by_place(store, CALL)[1, 0]
    assert (spoken.mime_type, spoken.sha256, spoken.size_bytes) == ("audio/wav", CALL_DIGEST, 48044)
    assert (spoken.duration, spoken.channels) == (1, 1)
    assert store.retrieve_media(spoken.reference).read_bytes()[:4] == b"RIFF"
    sources = {each.source: each.reference for each in report.stored}
    tool = f"promptarena:{MAPS}#Messages/3/tool_result/parts/1"
    assert store.info(sources[tool]).xattrs == {"user.source": tool}


def test_bytes_that_are_there_twice_are_counted(store: MediaStore, tmp_path: Path) -> None:
    report = import_promptarena(store, real(tmp_path))
    small = 268
    assert (report.examined, report.bytes) == (7, 4 * small + 2 * 114268 + 48044)
    assert (report.duplicates, report.duplicate_bytes) == (4, 3 * small + 114268)


def test_a_second_import_changes_nothing(store: MediaStore, storage: Storage, tmp_path: Path) -> None:
    out = real(tmp_path)
    import_promptarena(store, out)
    before = {key: storage.read(key) for key in sorted(storage.keys())}
    again = import_promptarena(store, out)
    assert (again.stored, again.unchanged, again.duplicates) == ((), 7, 0)
    moved = out.rename(tmp_path / "elsewhere")
    assert import_promptarena(MediaStore(storage.url, storage_options=storage.options), moved).unchanged == 7
    assert {key: storage.read(key) for key in sorted(storage.keys())} == before


def test_a_dry_run_plans_the_same_and_writes_nothing(store: MediaStore, storage: Storage, tmp_path: Path) -> None:
    out = real(tmp_path)
    write(out, "", [inline()])
    write(out, "r", [part(data="?"), inline()])
    planned = import_promptarena(store, out, dry_run=True)
    assert storage.keys() == set()
    done = import_promptarena(store, out)
    assert [each.source for each in planned.stored] == [each.source for each in done.stored]
    assert {each.reference for each in planned.stored} == {""}
    fields = ("examined", "bytes", "unchanged", "duplicates", "duplicate_bytes", "skipped")
    assert all(getattr(planned, name) == getattr(done, name) for name in fields)
    assert [str(each.error) for each in planned.failed] == [str(each.error) for each in done.failed]
    assert len(done.failed) == 2
    assert str(planned).startswith("10 examined, would store 8 ")
    assert import_promptarena(store, out, dry_run=True).stored == ()


def test_a_dry_run_refuses_what_the_import_would(memory: MediaStore, tmp_path: Path) -> None:
    write(tmp_path / "out", "r", [inline(policy_name="keep-forever"), inline()])
    for dry_run in (True, False):
        report = import_promptarena(memory, tmp_path / "out", dry_run=dry_run)
        assert len(report.stored) == 1
        assert "keep-forever" in str(report.failed[0].error)


def test_the_source_may_lie_on_any_storage(storage: Storage, memory: MediaStore, tmp_path: Path) -> None:
    out = real(tmp_path)
    for file in out.rglob("*"):
        if file.is_file():
            storage.write(file.relative_to(out).as_posix(), file.read_bytes())
    report = import_promptarena(memory, storage.url, storage_options=storage.options)
    assert (len(report.stored), report.failed) == (7, ())


def test_one_result_alone(memory: MediaStore, tmp_path: Path) -> None:
    report = import_promptarena(memory, real(tmp_path) / f"{CALL}.json")
    assert [memory.info(each.reference).run_id for each in report.stored] == [CALL]


def test_a_result_that_changed_adds_what_is_new(memory: MediaStore, tmp_path: Path) -> None:
    file = write(tmp_path / "out", "r", [inline()])
    import_promptarena(memory, file.parent)
    document = json.loads(file.read_text())
    document["Messages"][0]["parts"] += [inline(PNG + b"more"), inline()]
    file.write_text(json.dumps(document))
    report = import_promptarena(memory, file.parent)
    assert (len(report.stored), report.unchanged, report.duplicates) == (2, 1, 1)
    digests = [memory.info(each).sha256 for each in memory.list()]
    first, second = hashlib.sha256(PNG).hexdigest(), hashlib.sha256(PNG + b"more").hexdigest()
    assert digests == [first, second, first]


@pytest.mark.parametrize("mode", ["by-run", "by-conversation", "by-session"])
@pytest.mark.parametrize("deduplicate", [True, False])
def test_every_kind_of_store_knows_again(memory_storage: Storage, tmp_path: Path, mode: str, deduplicate: bool) -> None:
    store = MediaStore(memory_storage.url, organization=mode, deduplicate=deduplicate)
    out = real(tmp_path)
    assert len(import_promptarena(store, out).stored) == 7
    assert import_promptarena(store, out).unchanged == 7
    if deduplicate:
        assert len([key for key in sorted(memory_storage.keys()) if "/data/" in key]) == 3


def test_raw_sound_inside_a_result_is_known_again(memory: MediaStore, tmp_path: Path) -> None:
    write(tmp_path / "out", "r", [inline(b"\1\2" * 400, mime_type="audio/pcm"), inline(b"\1", mime_type="audio/pcm")])
    first = import_promptarena(memory, tmp_path / "out")
    assert [memory.info(each.reference).mime_type for each in first.stored] == ["audio/wav"] * 2
    assert import_promptarena(memory, tmp_path / "out").unchanged == 2


def test_what_media_outputs_tell_fills_what_messages_leave_open(memory: MediaStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "media").mkdir(parents=True)
    (out / "media" / "film.mp4").write_bytes(b"film")
    write(
        out,
        "r",
        [inline()],
        MediaOutputs=[
            {"Type": "image", "MIMEType": "image/png", "Duration": 3, "MessageIdx": 0, "PartIdx": 0},
            {
                "type": "video",
                "mime_type": "video/mp4",
                "file_path": "media/film.mp4",
                "message_index": 4,
                "part_index": 2,
            },
            {"type": "video", "mime_type": "video/mp4", "message_index": 5, "part_index": 0},
            "no object",
            {"message_index": "x"},
        ],
    )
    report = import_promptarena(memory, out)
    drawn, film = (memory.info(each.reference) for each in report.stored)
    assert drawn.duration == 3
    assert (film.mime_type, film.message_idx, film.part_idx) == ("video/mp4", 4, 2)
    assert [each.reason for each in report.skipped] == ["MediaOutputs names it, and no message holds its bytes"]


def test_promptkits_own_store_is_not_imported_into_itself(tmp_path: Path) -> None:
    out = real(tmp_path)
    store = MediaStore(out / "media")
    report = import_promptarena(store, out)
    assert [each.reason for each in report.skipped] == ["is a media of this store and this run already"] * 2
    assert len(report.stored) == 5  # inline ones, and the map that the second run had only a name for
    assert len(list(store.list(run_id=AGAIN))) == 3
    assert import_promptarena(store, out).stored == ()


def test_policies_and_progress(memory: MediaStore, tmp_path: Path) -> None:
    seen: list[int] = []
    report = import_promptarena(memory, real(tmp_path), policy_name="retain-30days", progress=seen.append)
    assert seen == list(range(1, 8))
    record = memory.info(report.stored[0].reference)
    assert record.expires_at == record.timestamp + timedelta(days=30)


def test_a_place_where_nothing_is_is_an_error(memory: MediaStore, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="no such folder"):
        import_promptarena(memory, tmp_path / "nowhere")
