"""Results from strangers: whatever stands in them, nothing outside the folder is read, and the rest goes on."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaError, MediaStore, import_promptarena
from fsmedia.exchange import promptarena
from tests.exchange.arena import CALL_DIGEST, PNG, inline, part, real, write

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "root:x:0:0"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder of results beside a secret."""
    (tmp_path / "secret.png").write_text(SECRET)
    folder = tmp_path / "out"
    (folder / "media").mkdir(parents=True)
    (folder / "media" / "good.png").write_bytes(PNG)
    (folder / "media" / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "media" / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "media" / "pipe.png")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "media/../../secret.png",
        "out/media/link.png",
        "media/up/secret.png",
        "media/pipe.png",
        "media",
        "good.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://bucket/x/y.png",
        "media/good.png.meta",
        "media/.fsmedia/store.json",
        "a/" * 70 + "good.png",
        "media/x\0.png",
        "",
        " ",
        "~/.ssh/id_rsa",
        7,
        ["media/good.png"],
        {"media": "good.png"},
    ],
)
def test_no_name_leads_out(memory: MediaStore, out: Path, name: Any) -> None:
    write(out, "r", [part(storage_reference=name), part(file_path=name), inline()])
    report = import_promptarena(memory, out)
    assert [each.source for each in report.stored] == ["promptarena:r#Messages/0/parts/2"]
    assert len(report.failed) + len(report.skipped) == 2
    text = " ".join([*(str(each.error) for each in report.failed), *(each.reason for each in report.skipped)])
    assert SECRET not in text
    assert all(memory.open(each).read() == PNG for each in memory.list())


def test_a_bare_name_is_not_taken_for_another(memory: MediaStore, out: Path) -> None:
    (out / "passwd").write_bytes(PNG)
    write(out, "r", [part(storage_reference="/etc/passwd")])
    assert import_promptarena(memory, out).stored == ()


def test_names_of_other_working_directories_are_found(memory: MediaStore, out: Path) -> None:
    names = [
        "media/good.png",
        "./media/good.png",
        "out/media/good.png",
        "/srv/arena/out/media/good.png",
        "out\\media\\good.png",
    ]
    write(out, "r", [part(storage_reference=name) for name in names])
    report = import_promptarena(memory, out)
    assert (len(report.stored), report.failed) == (5, ())


@pytest.mark.parametrize("data", ["?", "AAA", "AAAA=", "QUJD\u00e4", "QUJD QUJD", 7, ["QUJD"], {"a": 1}, "\ud800"])
def test_wrong_base64_is_refused_and_not_quoted(memory: MediaStore, out: Path, data: Any) -> None:
    write(out, "r", [part(data=data), inline()])
    report = import_promptarena(memory, out)
    assert len(report.stored) == (0 if data == "\ud800" else 1)  # a lone surrogate makes the document no JSON at all
    (failure,) = report.failed
    assert "base64" in str(failure.error) or data == "\ud800"
    assert str(data) not in str(failure.error)


@pytest.mark.parametrize(
    ("media", "said"),
    [
        ({"mime_type": "image/png\r\nX-Evil: 1"}, "mime_type"),
        ({"mime_type": ["image/png"]}, "mime_type"),
        ({"width": -1}, "width"),
        ({"width": "wide"}, "width"),
        ({"caption": "x" * 70_000}, "caption"),
        ({"policy_name": "for ever"}, "for ever"),
        ({"policy_name": {"a": 1}}, "policy_name"),
        ({"duration": 1e400}, "duration"),
    ],
)
def test_wrong_fields_are_refused_one_by_one(memory: MediaStore, out: Path, media: dict[str, Any], said: str) -> None:
    write(out, "r", [inline(**media), inline()])
    report = import_promptarena(memory, out)
    if report.stored:
        assert len(report.stored) == 1
        assert said in str(report.failed[0].error)
    else:  # Infinity is no JSON
        assert "result-" in str(report.failed[0].error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '{"a":' * 100_000,
        "null",
        "[]",
        '"RunID"',
        "{}",
        '{"RunID": 7, "Messages": []}',
        '{"RunID": "", "Messages": []}',
        '{"RunID": "r", "Messages": 7}',
        '{"RunID": "r", "Messages": {"parts": []}}',
        '{"RunID": "r", "Messages": [7, null, "x", []]}',
        '{"RunID": "r", "Messages": [{"parts": 7, "tool_result": 7}, {"parts": [7, null, {"type": "image"}]}]}',
        '{"RunID": "r", "Messages": [{"parts": [{"type": "image", "media": 7}], "timestamp": "soon"}]}',
        '{"RunID": "r", "Messages": [], "MediaOutputs": {"a": 1}}',
        "\xff\xfe",
    ],
)
def test_results_of_any_shape_are_passed_and_the_next_one_is_read(memory: MediaStore, out: Path, text: str) -> None:
    (out / "a.json").write_text(text, encoding="latin-1")
    write(out, "good", [inline()])
    report = import_promptarena(memory, out)
    assert [memory.info(each.reference).run_id for each in report.stored] == ["good"]
    for failure in report.failed:
        assert len(str(failure.error)) < 500
        assert str(failure.error).isprintable()


@pytest.mark.parametrize("run", ["../../x", "a/b", "é\n\x1b[31m", "x" * 3000, ".fsmedia", "."])
def test_ids_of_any_form_stay_inside(memory: MediaStore, out: Path, run: str) -> None:
    write(out, run, [inline()])
    report = import_promptarena(memory, out)
    (stored,) = report.stored
    assert memory.info(stored.reference).run_id == run
    assert stored.reference.startswith("runs/")
    assert import_promptarena(memory, out).unchanged == 1


def test_an_id_too_long_for_any_store_is_refused(memory: MediaStore, out: Path) -> None:
    write(out, "x" * 5000, [inline()])
    assert "run_id" in str(import_promptarena(memory, out).failed[0].error)


def test_huge_results_are_refused_before_they_are_read(
    memory: MediaStore, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promptarena, "LARGEST_RESULT", 2000)
    write(out, "large", [inline(bytes(4000))])
    write(out, "small", [inline()])
    report = import_promptarena(memory, out)
    assert [memory.info(each.reference).run_id for each in report.stored] == ["small"]
    assert "more than 2000 bytes" in str(report.failed[0].error)


def test_bytes_that_are_not_what_their_name_promises_are_refused(memory: MediaStore, tmp_path: Path) -> None:
    folder = real(tmp_path)
    (sound,) = folder.rglob(f"{CALL_DIGEST}.wav")
    sound.write_bytes(sound.read_bytes()[:-10])
    report = import_promptarena(memory, folder)
    assert len(report.stored) == 6
    assert "not those that its name promises" in str(report.failed[0].error)


def test_a_damaged_sidecar_costs_only_what_it_says(memory: MediaStore, tmp_path: Path) -> None:
    folder = real(tmp_path)
    for sidecar in folder.rglob("*.meta"):
        sidecar.write_text(json.dumps({"run_id": 7}))
    assert len(import_promptarena(memory, folder).stored) == 7


def test_what_only_names_a_url_is_not_fetched(memory: MediaStore, out: Path) -> None:
    write(out, "r", [part(url="http://127.0.0.1:1/x.png"), part()])
    report = import_promptarena(memory, out)
    assert [each.reason for each in report.skipped] == [
        "names only a URL, and URLs are not fetched",
        "holds no bytes and names none",
    ]


def test_a_result_at_the_top_of_the_machine_is_not_one_of_the_working_directory(
    memory: MediaStore, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(out, "r", [inline()])
    (name,) = (path.name for path in out.glob("*.json"))
    monkeypatch.chdir(out)
    assert len(import_promptarena(memory, name, dry_run=True).stored) == 1
    with pytest.raises(MediaError, match="the root of the file system"):
        import_promptarena(memory, f"/{name}")
