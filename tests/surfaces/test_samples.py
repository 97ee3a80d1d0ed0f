"""The sample run: five media that open in the library of their kind."""

from __future__ import annotations

import io
import re
import struct
import wave

import pytest
from PIL import Image

from fsmedia.cli.cmd_demo import Sample, sample_run
from fsmedia.models import mime


@pytest.fixture(scope="module")
def run() -> dict[str, Sample]:
    """Return the sample run by MIME type."""
    return {sample.mime_type: sample for sample in sample_run()}


def test_it_is_a_little_run_of_several_kinds(run: dict[str, Sample]) -> None:
    assert sorted(run) == ["application/pdf", "audio/wav", "image/jpeg", "image/png", "text/markdown"]
    places = [(sample.message_idx, sample.part_idx) for sample in run.values()]
    assert places == sorted(set(places))
    assert min(places) >= (0, 0)
    assert len({sample.file_name for sample in run.values()}) == len(run)
    for sample in run.values():
        assert mime.guess_from_name(sample.file_name) == sample.mime_type
        assert mime.agrees(sample.mime_type, sample.data) is None
        assert 10 < len(sample.caption) < 120


def test_it_is_a_few_hundred_kilobytes(run: dict[str, Sample]) -> None:
    assert 200_000 < sum(len(sample.data) for sample in run.values()) < 600_000


@pytest.mark.parametrize(
    ("kind", "form", "size"), [("image/png", "PNG", (640, 400)), ("image/jpeg", "JPEG", (800, 600))]
)
def test_the_pictures_open(run: dict[str, Sample], kind: str, form: str, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(run[kind].data)) as picture:
        picture.verify()
    with Image.open(io.BytesIO(run[kind].data)) as picture:
        assert (picture.format, picture.size) == (form, size)
        assert len(picture.convert("RGB").quantize(64).getcolors() or ()) > 20  # drawn, not blank


def test_the_chime_plays(run: dict[str, Sample]) -> None:
    with wave.open(io.BytesIO(run["audio/wav"].data)) as sound:
        assert sound.getparams()[:4] == (1, 2, 24_000, 48_000)
        samples = struct.unpack("<48000h", sound.readframes(48_000))
    assert 8_000 < max(map(abs, samples)) < 32_767  # loud enough, never clipped
    assert max(map(abs, samples[-100:])) < 200  # ends without a click


def test_the_calendar_has_two_pages_and_a_fixed_date(run: dict[str, Sample]) -> None:
    data = run["application/pdf"].data
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == 2
    assert set(re.findall(rb"\(D:(\d{14})", data)) == {b"20250301080000"}
