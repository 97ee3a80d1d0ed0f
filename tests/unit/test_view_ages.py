"""How old views may be: when they look again, and that one looks while others go on."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from fsmedia.catalog.views import CatalogRows, LoadedRows, ViewTrees
from fsmedia.format.views import DEFAULT_VIEWS
from tests.conftest import Clock

BY_RUN = DEFAULT_VIEWS[2]
MINUTE = timedelta(minutes=1)


class Source:
    """Gives rows and counts how often; each time another media is there."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.count = 0
        self.error: Exception | None = None
        self.takes = timedelta(0)
        self.age = timedelta(0)
        self.same: CatalogRows | None = None

    def __call__(self) -> LoadedRows:
        if self.error:
            raise self.error
        self.count += 1
        since = self.clock() - self.age
        self.clock.advance(self.takes)
        rows = self.same or CatalogRows(lambda name: [f"runs/r/{self.count}.png"] if name == "reference" else ["r"])
        return LoadedRows(rows, since)

    def seen(self, shown: ViewTrees) -> str:
        [(name, _)] = shown.tree(BY_RUN).children("r")
        return name


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source(clock)


def test_it_looks_again_when_it_is_older_than_it_may_be(source: Source, clock: Clock) -> None:
    shown = ViewTrees(source, MINUTE, clock)
    assert source.count == 0
    assert [source.seen(shown) for _ in range(3)] == ["1.png"] * 3
    clock.advance(MINUTE)
    assert source.seen(shown) == "1.png"
    clock.advance(timedelta(microseconds=1))
    assert source.seen(shown) == "2.png"
    clock.advance(-timedelta(days=1))  # set back: nobody knows how old it is
    assert source.seen(shown) == "3.png"


def test_zero_looks_each_time_and_none_once(source: Source, clock: Clock) -> None:
    shown = ViewTrees(source, timedelta(0), clock)
    assert [source.seen(shown) for _ in range(3)] == ["1.png", "2.png", "3.png"]
    shown = ViewTrees(source, None, clock)
    assert source.seen(shown) == "4.png"
    clock.advance(timedelta(days=1000))
    assert source.seen(shown) == "4.png"


def test_a_snapshots_age_counts(source: Source, clock: Clock) -> None:
    source.age = MINUTE / 2
    shown = ViewTrees(source, MINUTE, clock)
    source.seen(shown)
    clock.advance(MINUTE / 2)
    assert source.seen(shown) == "1.png"
    clock.advance(timedelta(seconds=1))
    assert source.seen(shown) == "2.png"


def test_where_looking_takes_long_it_does_for_as_long(source: Source, clock: Clock) -> None:
    """Else a store that takes longer to list than views may be old would be listed at every call."""
    source.takes = 10 * MINUTE
    shown = ViewTrees(source, MINUTE, clock)
    source.seen(shown)
    clock.advance(10 * MINUTE)
    assert source.seen(shown) == "1.png"
    clock.advance(timedelta(seconds=1))
    assert source.seen(shown) == "2.png"


def test_the_same_rows_keep_their_trees(source: Source, clock: Clock) -> None:
    source.same = CatalogRows(lambda name: ["runs/r/a.png"] if name == "reference" else ["r"])
    shown = ViewTrees(source, timedelta(0), clock)
    assert shown.tree(BY_RUN) is shown.tree(BY_RUN)
    assert source.count == 2


def test_an_error_is_told_and_the_next_call_looks_again(source: Source, clock: Clock) -> None:
    shown = ViewTrees(source, MINUTE, clock)
    source.error = OSError("no")
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            shown.tree(BY_RUN)
    source.error = None
    assert source.seen(shown) == "1.png"


def test_one_looks_and_others_go_on_with_the_old(source: Source, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> LoadedRows:
        if source.count:
            begun.set()
            assert go_on.wait(20)
        return source()

    shown = ViewTrees(slow, MINUTE, clock)
    assert source.seen(shown) == "1.png"
    clock.advance(2 * MINUTE)
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(source.seen(shown)))
    thread.start()
    assert begun.wait(20)
    assert [source.seen(shown) for _ in range(3)] == ["1.png"] * 3
    go_on.set()
    thread.join()
    assert seen == ["2.png"]
    assert (source.seen(shown), source.count) == ("2.png", 2)


def test_the_first_look_is_waited_for_and_done_once(source: Source, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> LoadedRows:
        begun.set()
        assert go_on.wait(20)
        return source()

    shown = ViewTrees(slow, MINUTE, clock)
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(source.seen(shown))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    go_on.set()
    for thread in threads:
        thread.join()
    assert seen == ["1.png"] * 8
    assert source.count == 1
