"""Media brought from one storage to the next, and back: complete, and under the same references where that can be."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from fsmedia.format import keys
from tests.conftest import make_storage
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE
from tests.transfers import SETTINGS, fill, media_of, opened, synced

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Clock

CHAIN = (S3_MOTO, GCS, MEMORY)
PAIRS = [(LOCAL, MEMORY), (MEMORY, LOCAL), (LOCAL, S3_RCLONE), (S3_RCLONE, GCS), (GCS, S3_MOTO), (S3_MOTO, LOCAL)]


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
def test_around_the_world(deduplicate: bool, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> None:
    home = make_storage(LOCAL, request, tmp_path)
    found = fill(opened(home, clock, deduplicate=deduplicate, **SETTINGS))
    places = [
        home,
        *(make_storage(name, request, tmp_path) for name in CHAIN),
        make_storage(LOCAL, request, tmp_path / "back"),
    ]
    for source, target in itertools.pairwise(places):
        report = synced(source, target)
        assert (report.copied, report.failed, report.skipped) == (len(found), (), ())
        again = synced(source, target)
        assert (again.copied, again.updated, again.unchanged, again.failed) == (0, 0, len(found), ())
        assert media_of(target) == media_of(source)
        if deduplicate:
            assert {pair.old for pair in again.moved} == set(opened(source).list())
            assert {pair.new for pair in again.moved} == set(opened(target).list())
            blobs = [key for key in target.keys() if "/data/" in key]  # noqa: SIM118
            assert len(blobs) == len(found) - 1
        else:
            assert report.moved == ()
    if not deduplicate:
        assert places[-1].keys() == home.keys()
        for key in home.keys():  # noqa: SIM118
            assert places[-1].read(key) == home.read(key), key


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_plain_and_back(source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Plain to deduplicated and back: only names differ in between."""
    home, there, back = (
        make_storage(name, request, tmp_path / str(at)) for at, name in enumerate((source, target, source))
    )
    found = fill(opened(home, **SETTINGS))
    report = synced(home, there, deduplicate=True)
    assert report.failed == report.skipped == ()
    assert media_of(there) == media_of(home)
    assert len([key for key in there.keys() if "/data/" in key]) == len(found) - 1  # noqa: SIM118
    assert {pair.old for pair in report.moved} == set(found.values())
    again = opened(there).sync_to(back.url, storage_options=back.options, deduplicate=False)
    assert again.failed == again.skipped == ()
    assert {pair.new for pair in again.moved} == set(found.values())
    assert media_of(back) == media_of(home)
    for key in home.keys():  # noqa: SIM118
        if not key.startswith(keys.CONFIGURATION_KEY):
            assert back.read(key) == home.read(key), key
