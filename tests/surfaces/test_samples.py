"""The sample run: five media that open in the library of their kind, and are the same each time."""

from __future__ import annotations

import builtins
import dataclasses
import io
import re
import struct
import wave

import pytest
from PIL import Image

from fsmedia.cli.samples import Sample, sample_run
from fsmedia.errors import MediaError, StorageError
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


def test_it_is_the_same_each_time(run: dict[str, Sample]) -> None:
    assert sample_run() == list(run.values())


def test_samples_are_frozen(run: dict[str, Sample]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        run["image/png"].data = b""  # type: ignore[misc]


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


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def without_pillow(name: str, *rest: object, **more: object) -> object:
        if name.partition(".")[0] == "PIL":
            raise ImportError(name)
        return honest(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(MediaError, match=r"pip install 'fsmedia\[notebook\]'") as caught:
        sample_run()
    assert not isinstance(caught.value, StorageError)
