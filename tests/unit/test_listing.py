"""Pages of listings: proved to go on, sorted where a server keeps no order, in bounded memory."""

from __future__ import annotations

import random
import tempfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fsmedia import StorageError
from fsmedia.storage.listing import KeyOrder, Page, level, pages, sort_entries
from fsmedia.storage.port import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


def entry(number: int) -> Entry:
    """Every field filled, or not."""
    modified = START + timedelta(seconds=number) if number % 3 else None
    token = str(number) if number % 2 else None
    return Entry(f"runs/r{number:05d}/\N{GREEK SMALL LETTER ALPHA}\n\U0001f600.png", number, modified, token)


def page_of(*numbers: int, token: str | None = None) -> Page:
    return Page([entry(number) for number in numbers], [], token)


def listing(*found: Page) -> Iterator[Page]:
    return iter(found)


@pytest.mark.parametrize("at_once", [1, 7, 1000, 10_000])
def test_sorting_in_runs_gives_all_of_it_unchanged(at_once: int) -> None:
    wanted = [entry(number) for number in range(1000)]
    mixed = random.Random(4).sample(wanted, 1000)
    assert list(sort_entries(iter(mixed), at_once)) == wanted


def test_what_is_listed_twice_is_given_once() -> None:
    mixed = [entry(number) for number in (3, 1, 2, 3, 1)]
    assert list(sort_entries(iter(mixed), 2)) == [entry(1), entry(2), entry(3)]


def test_nothing_sorts_to_nothing() -> None:
    assert list(sort_entries(iter(()))) == []


def test_more_than_one_run_goes_to_a_file_that_is_gone_afterwards(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = sort_entries((entry(number) for number in range(100, 0, -1)), 10)
    assert next(found) == entry(1)
    found.close()
    assert list(tmp_path.iterdir()) == []


def test_a_sorted_listing_is_given_as_it_comes() -> None:
    """Who stops after the first page asks for no second one."""
    asked: list[str | None] = []

    def ask(token: str | None) -> Page:
        asked.append(token)
        return page_of(1, 2, token="b") if token is None else page_of(3)

    found = KeyOrder("s3://b").entries(pages(ask, ""))
    assert [next(found), next(found)] == [entry(1), entry(2)]
    assert asked == [None]
    assert list(found) == [entry(3)]


def test_a_first_page_out_of_order_makes_it_all_sorted() -> None:
    order = KeyOrder("s3://b")
    assert list(order.entries(listing(page_of(5, 2), page_of(1, 9)))) == [entry(each) for each in (1, 2, 5, 9)]
    assert list(order.entries(listing(page_of(7, 8), page_of(3)))) == [entry(each) for each in (3, 7, 8)]


@pytest.mark.parametrize("later", [(1,), (4, 3), (2,)], ids=["lower", "out of order", "the same once more"])
def test_a_later_page_out_of_order_is_an_error_and_remembered(later: tuple[int, ...]) -> None:
    order = KeyOrder("s3://b")
    with pytest.raises(StorageError, match="s3://b does not list in the order of keys"):
        list(order.entries(listing(page_of(1, 2), page_of(*later))))
    assert list(order.entries(listing(page_of(8), page_of(7)))) == [entry(7), entry(8)]


def test_empty_pages_do_not_count_as_given() -> None:
    found = KeyOrder("s3://b").entries(listing(page_of(), page_of(4, 1), page_of(2)))
    assert list(found) == [entry(1), entry(2), entry(4)]


def test_a_storage_that_is_known_to_keep_no_order_is_sorted_from_the_start() -> None:
    order = KeyOrder("s3://b--usw2-az1--x-s3", unordered=True)
    assert list(order.entries(listing(page_of(1), page_of(0)))) == [entry(0), entry(1)]


def test_a_token_that_comes_again_ends_with_an_error() -> None:
    with pytest.raises(StorageError, match="goes round"):
        list(pages(lambda _: page_of(token="again"), "runs"))


def test_a_page_that_comes_again_under_other_tokens_ends_with_an_error() -> None:
    with pytest.raises(StorageError, match="goes round"):
        list(pages(lambda token: page_of(1, 2, token=f"{token}+"), "runs"))


def test_a_level_is_cut_off_only_where_names_come_in_order() -> None:
    """Due folders after the wanted one need not be listed, unless earlier ones may come after them."""
    ordered = listing(Page([], ["a", "c"], "1"), Page([], ["d"], None))
    assert level(ordered, "b").folders == ["a", "c"]
    mixed = listing(Page([], ["c", "b"], "1"), Page([], ["a"], None))
    assert level(mixed, "b").folders == ["c", "b", "a"]
