"""Messages in files of any length: the same media as in a text, the same bytes again, in bounded memory."""

import base64
import io
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from fsmedia import AsyncMediaStore, MediaMetadata, errors
from fsmedia.format import json_stream
from tests.golden.test_messages import EXAMPLES
from tests.messages import DOCUMENTS, PNG, b64, url
from tests.transfers import opened

R1 = MediaMetadata(run_id="r1")
LARGE = PNG + random.Random(1).randbytes(400_001)
DOCS = [
    *(document for document, _ in DOCUMENTS.values()),
    {
        "content": [
            {"source": {"type": "base64", "media_type": "image/png", "data": b64(LARGE)}},
            "\N{GRINNING FACE}" * 9,
        ]
    },
    {"bare": [{"x": url(LARGE)}, {"mimeType": "image/png", "data": b64(LARGE).rstrip("=")}]},
    {"bedrock": {"source": {"bytes": base64.urlsafe_b64encode(LARGE).decode()}, "format": "png"}},
]
TEXTS = {
    "document": json.dumps({"messages": DOCS}, ensure_ascii=False, indent=1),
    "list": "\ufeff" + json.dumps([[DOCS, 1], DOCS]).replace("/", "\\/"),
    "lines": "".join(json.dumps(each) + "\r\n" for each in DOCS),
}


@pytest.fixture
def store(memory_storage):
    return opened(memory_storage)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(json_stream, "WHOLE", 1000)
    monkeypatch.setattr(json_stream, "LONG", 200_000)
    monkeypatch.setattr(json_stream, "PIECE", 50_000)


def streamed(store, text, **options):
    pieces = list(store.externalize_stream(io.BytesIO(text.encode()), R1, **options))
    return "".join(each.text for each in pieces), [each for piece in pieces for each in piece.taken_out], pieces


def inlined(store, text):
    return "".join(store.inline_stream(io.BytesIO(text.encode())))


@pytest.mark.parametrize("piece", [200, 1_000, 4_000])
def test_references_that_are_cut_off_from_what_stands_around_them_come_back(store, piece, small_pieces, monkeypatch):
    monkeypatch.setattr(json_stream, "PIECE", piece)
    text = json.dumps({"messages": list(EXAMPLES.values())})
    assert inlined(store, store.externalize_text(text, R1).text) == text
    assert inlined(store, streamed(store, text)[0]) == text


@pytest.mark.parametrize("piece", [1_000, 50_000])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_pieces_hold_what_the_whole_holds_and_come_back(store, text, piece, small_pieces, monkeypatch):
    monkeypatch.setattr(json_stream, "PIECE", piece)
    small, taken, pieces = streamed(store, text)
    assert len(pieces) > 5
    assert len(small) < 100_000
    whole = store.externalize_text(text, R1, dry_run=True).taken_out
    found = [sorted((each.sha256, each.size_bytes, each.mime_type) for each in some) for some in (taken, whole)]
    assert found[0] == found[1]
    if piece == 50_000:
        assert {each.where for each in taken} == {each.where for each in whole}
    assert len({each.reference for each in taken}) == len({(each.sha256, each.mime_type) for each in taken})
    assert inlined(store, small) == text
    assert store.inline_text(small) == text
    assert inlined(store, store.externalize_text(text, R1).text) == text
    assert streamed(store, small)[1] == []  # all are references already


def test_long_strings_that_are_none_stay_and_are_told(store, small_pieces):
    lines = "\n".join(b64(LARGE)[at : at + 76] for at in range(0, 500_000, 76))
    broken = b64(LARGE)[:250_000] + "-_" + b64(LARGE)[250_002:]
    inner = json.dumps([{"mimeType": "image/png", "data": b64(LARGE)}])
    document = [{"mimeType": "image/png", "data": each} for each in (lines, broken, inner, '\\"/\u00e9\n' * 90_000)]
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
        small, taken, pieces = streamed(store, text)
        assert (small, taken) == (text, [])
        assert [each for piece in pieces for each in piece.kept] == [f"$[{n}].data" for n in range(4)]
        assert inlined(store, small) == text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'\n{"a": 1,\n "b": ]' , "line 3, column 7"), (b'[1,\n"' + b"x" * 300_000, "line 2, column"),
        (b'["' + b"x" * 300_000 + b'\\q"]', "can't be read"), (b"[" * 100_000, "levels deep"), (b"", "ends too early"),
        (b'["' + b"x" * 300_000 + b'\xff"]', "no UTF-8 at byte 300,002"), (b"[" + b" " * 900_000, "line 1"),
        (b"[" + b"1" * 900_000 + b"]", "column 2 can't"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_place(store, data, said, small_pieces):
    with pytest.raises(errors.InvalidMediaError, match=said):
        list(store.externalize_stream(io.BytesIO(data), R1))


@pytest.mark.anyio
async def test_coroutines(memory_storage, store, small_pieces):
    text = TEXTS["lines"]
    async with AsyncMediaStore(memory_storage.url, **memory_storage.options) as asynchronous:
        file = io.BytesIO(text.encode())
        small = "".join([each.text async for each in asynchronous.externalize_stream(file, R1)])
        assert "".join([each async for each in asynchronous.inline_stream(io.BytesIO(small.encode()))]) == text


def agent_log(path: Path, size: int, *, is_document: bool, largest: int) -> None:
    """Write a log of an agent's session: pictures, one of them large, text beside them, and one long text."""
    randoms, between = random.Random(2), ",\n" if is_document else "\n"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write('{"messages": [' if is_document else "")
        for number in range(1 << 30):
            data = PNG + randoms.randbytes(largest if number == 3 else randoms.choice([20_000, 300_000, 2_000_000]))
            source = {"type": "base64", "media_type": "image/png", "data": b64(data)}
            text = "log \N{GRINNING FACE} " * 20_000
            line = {"message": {"content": [{"type": "image", "source": source}, {"type": "text", "text": text}]}}
            file.write(between * (number > 0) + json.dumps(line, ensure_ascii=False))
            if file.tell() > size:
                break
        file.write("]}" if is_document else "\n")


def test_a_killed_process_leaves_the_file_as_it_was(tmp_path):
    log, target = tmp_path / "log", tmp_path / "target"
    agent_log(log, 12 << 20, is_document=False, largest=20_000)
    target.write_text("old")
    command = ["messages", "externalize", "-", "--run", "r1", "-o", str(target), "-s", str(tmp_path / "store")]
    with subprocess.Popen([sys.executable, "-m", "fsmedia.cli", *command], stdin=subprocess.PIPE) as child:
        child.stdin.write(log.read_bytes())  # it has read all but what a pipe holds, and wants more
        child.kill()
    assert target.read_text() == "old"
    assert list((tmp_path / "store").rglob("*.png"))


CHILD = """
import sys
from fsmedia.cli import main
from tests.protocol.streaming_child import peak
try:
    main()
finally:
    print(peak(), file=sys.stderr)
"""


def run(*words):
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, words)], capture_output=True, text=True, check=True)
    *said, peak = done.stderr.splitlines()
    return "\n".join(said), int(peak)


@pytest.mark.parametrize(
    "size", [pytest.param(24 << 20, id="24MiB"), pytest.param(600 << 20, id="600MiB", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("is_document", [True, False], ids=["document", "lines"])
def test_a_log_of_any_length_takes_150_mib_of_memory(tmp_path, size, is_document):
    log, small, back, store = (tmp_path / name for name in ("log", "small", "back", "store"))
    agent_log(log, size, is_document=is_document, largest=size // 3)
    said, peak = run("messages", "externalize", log, "--run", "r1", "-o", small, "-s", store)
    assert "took out" in said
    assert "stay" not in said
    assert peak < 150 << 20
    _, peak = run("messages", "inline", small, "-o", back, "-s", store, "--at-most", 1 << 40)
    assert peak < 150 << 20
    assert subprocess.run(["cmp", log, back], check=False).returncode == 0
