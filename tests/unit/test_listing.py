"""Pages of listings: proved to go on, sorted where a server keeps no order, in bounded memory."""

import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from botocore.parsers import ResponseParserError, RestXMLParser
from botocore.session import Session

from fsmedia import StorageError
from fsmedia.format import keys
from fsmedia.storage import listing as listings
from fsmedia.storage.fsspec_backend import entry_of
from fsmedia.storage.listing import KeyOrder, NestedStores, Page, ahead, level, pages, sort_entries
from fsmedia.storage.port import Entry
from fsmedia.storage.s3 import _after, _read_objects
from tests.contract.specimens import raised

START = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


def entry(number: int) -> Entry:
    modified = START + timedelta(seconds=number) if number % 3 else None
    token = str(number) if number % 2 else None
    return Entry(f"runs/r{number:05d}/\N{GREEK SMALL LETTER ALPHA}\n\U0001f600.png", number, modified, token)


def page_of(*numbers: int, token: str | None = None) -> Page:
    return Page([entry(number) for number in numbers], [], token)


def listing(*found: Page) -> Iterator[Page]:
    return iter(found)


def test_sorting_in_runs_and_names_that_wait_lose_nothing_in_bounded_memory(tmp_path, monkeypatch) -> None:
    for at_once in [1, 7, 1000, 10_000]:
        wanted = [entry(number) for number in range(1000)]
        mixed = random.Random(4).sample(wanted, 1000)
        assert list(sort_entries(iter(mixed), at_once)) == wanted
    mixed = [entry(number) for number in (3, 1, 2, 3, 1)]
    assert list(sort_entries(iter(mixed), 2)) == [entry(1), entry(2), entry(3)]
    assert list(sort_entries(iter(()))) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = sort_entries((entry(number) for number in range(100, 0, -1)), 10)
    assert next(found) == entry(1)
    found.close()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(listings, "MOST_WAITING", 1000)
    waiting = [f"runs/-{number:05d}/x.png" for number in range(1000)]
    found = NestedStores()._own((Entry(name, 1) for name in [*waiting, "runs/a/x.png"]), 0)
    assert [next(found).key for _ in range(5)] == waiting[:5]
    assert found.gi_frame.f_locals["waiting"]._rolled
    assert ([each.key for each in found], list(tmp_path.iterdir())) == ([*waiting[5:], "runs/a/x.png"], [])


def test_a_sorted_listing_is_given_as_it_comes_and_a_first_page_out_of_order_makes_it_all_sorted() -> None:
    # Who stops after the first page asks for no second one.
    asked: list[str | None] = []

    def ask(token: str | None) -> Page:
        asked.append(token)
        return page_of(1, 2, token="b") if token is None else page_of(3)

    found = KeyOrder("s3://b").entries(pages(ask, ""))
    assert [next(found), next(found)] == [entry(1), entry(2)]
    assert asked == [None]
    assert list(found) == [entry(3)]
    order = KeyOrder("s3://b")
    assert list(order.entries(listing(page_of(5, 2), page_of(1, 9)))) == [entry(each) for each in (1, 2, 5, 9)]
    assert list(order.entries(listing(page_of(7, 8), page_of(3)))) == [entry(each) for each in (3, 7, 8)]
    found = KeyOrder("s3://b").entries(listing(page_of(), page_of(4, 1), page_of(2)))
    assert list(found) == [entry(1), entry(2), entry(4)]
    order = KeyOrder("s3://b--usw2-az1--x-s3", unordered=True)
    assert list(order.entries(listing(page_of(1), page_of(0)))) == [entry(0), entry(1)]
    raised(StorageError, list, pages(lambda _: page_of(token="again"), "runs"), match="goes round")
    raised(StorageError, list, pages(lambda token: page_of(1, 2, token=f"{token}+"), "runs"), match="goes round")
    # Due folders after the wanted one need not be listed, unless earlier ones may come after them.
    assert level(listing(Page([], ["a", "c"], "1"), Page([], ["d"], None)), "b").folders == ["a", "c"]
    assert level(listing(Page([], ["c", "b"], "1"), Page([], ["a"], None)), "b").folders == ["c", "b", "a"]


@pytest.mark.parametrize("later", [(1,), (4, 3), (2,)], ids=["lower", "out of order", "the same once more"])
def test_a_later_page_out_of_order_is_an_error_and_remembered(later: tuple[int, ...]) -> None:
    order = KeyOrder("s3://b")
    with pytest.raises(StorageError, match="s3://b does not list in the order of keys"):
        list(order.entries(listing(page_of(1, 2), page_of(*later))))
    assert list(order.entries(listing(page_of(8), page_of(7)))) == [entry(7), entry(8)]


# -- pages asked for ahead ---------------------------------------------------------------------------------
HANGING = """
import threading
from fsmedia.storage.listing import Page, ahead

def pages():
    yield Page([], ["a"], "1")
    yield Page([], ["b"], "2")
    hangs.set()
    threading.Event().wait()

hangs, found = threading.Event(), ahead(pages())
print([next(found).folders for _ in range(2)], hangs.wait())
"""


def test_a_process_ends_while_a_page_that_was_asked_for_ahead_hangs() -> None:
    """It waited for the thread, for ever."""
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[['a'], ['b']] True\n"


def test_an_error_of_the_page_ahead_comes_after_what_lies_before_it() -> None:
    failed = threading.Event()

    def asked() -> Iterator[Page]:
        yield page_of(1, token="a")
        yield page_of(2, 3, token="b")
        failed.set()
        raise StorageError("the server went away")

    found = KeyOrder("s3://b").entries(ahead(asked()))
    assert [next(found), next(found)] == [entry(1), entry(2)]
    assert failed.wait(60)
    assert next(found) == entry(3)
    raised(StorageError, next, found, match="the server went away")
    assert list(found) == []


def test_who_wants_no_more_pages_than_two_asks_in_no_thread_and_who_stops_later_asks_for_one_more() -> None:
    askers: list[threading.Thread] = []
    looked, asked_for = threading.Event(), threading.Event()

    def asked() -> Iterator[Page]:
        for number in range(9):
            askers.append(threading.current_thread())
            if number == 3:
                asked_for.set()
                looked.wait(60)
            yield page_of(number, token=str(number))

    found = ahead(asked())
    assert [next(found).entries for _ in range(3)] == [[entry(number)] for number in range(3)]
    assert asked_for.wait(60), "the fourth page is asked for while the third is looked at"
    found.close()
    looked.set()
    for thread in askers[2:]:
        thread.join(60)
    assert [each is threading.main_thread() for each in askers] == [True, True, False, False]
    assert [each.is_alive() for each in askers[2:]] == [False, False]
    assert [page.entries for page in ahead(iter([page_of(1)]))] == [[entry(1)]]


# -- stores below a store ----------------------------------------------------------------------------------
def own_names(names: list[str], folder: str = "") -> tuple[list[str], tuple[str, ...]]:
    """Return what is left of a listing, and the folders that were found to be other stores'."""
    nested, begin = NestedStores(), len(folder.rpartition("/")[0])
    return [each.key for each in nested._own((Entry(name, 1) for name in sorted(names)), begin)], nested.folders


def by_definition(names: list[str], folder: str = "") -> list[str]:
    """Leave out every name in a folder whose `.fsmedia/` a store has made, and every `.fsmedia` below the root."""
    above = len(f"{folder.rpartition('/')[0]}/") if "/" in folder else 0
    roots = {
        name[: at + 1]
        for name in names
        for at in range(above, len(name))
        if name[at] == "/" and not keys.is_internal(name) and keys.is_in_store(name[at + 1 :])
    }
    shown = (name for name in sorted(names) if keys.is_internal(name) or not keys.has_internal_part(name))
    return [name for name in shown if keys.is_internal(name) or not any(name.startswith(root) for root in roots)]


def test_a_store_below_is_left_out_in_any_case_of_letters() -> None:
    names = ("!a", "(1).png", "+x/y.png", "-1.png", ".DS_Store", "0.png", "x/.fsmedia/y")
    inner = [f"runs/r1/{name}" for name in names]
    outer = [".fsmedia/store.json", "!x.png", "+/x.png", "runs/-1/x.png", "runs/r0/x.png", "runs/r10/x.png", "z.png"]
    names = [*inner, *outer, "runs/r1/.fsmedia/store.json", "runs/r1/.fsmedia/blobs/00/x"]
    assert own_names(names) == (sorted(outer), ("runs/r1",))
    # Only a listing that begins at the store or above can show that it is one.
    assert own_names(["runs/r1/-1.png", "runs/r1/.fsmedia/store.json"], "runs/r1") == ([], ("runs/r1",))
    assert own_names(["runs/r1/-1.png", "runs/r1/x.png"], "runs/r1/")[0] == ["runs/r1/-1.png", "runs/r1/x.png"]
    for mark in [".fsmedia/store.json", ".FSMEDIA/Store.json", ".FsMedia/blobs/00/x", ".f\u017fmedia/store.json"]:
        assert own_names(["a/-.png", "a/.fz.png", "a/b.png", f"a/{mark}", "b.png"]) == (["b.png"], ("a",))
    # PromptKit calls a folder as the run is called.
    names = ["runs/-1/x.png", "runs/.fsmedia/0000.png", "runs/r1/x.png"]
    assert own_names(names) == (["runs/-1/x.png", "runs/r1/x.png"], ("runs/.fsmedia",))
    names = [".fsmedia/due/2026-03-04/12/00/a/.fsmedia/store.json", ".fsmedia/quarantine/x/a/.fsmedia/store.json"]
    assert own_names(names) == (names, ())


def test_a_listing_leaves_out_what_the_definition_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of any size, and with few names waiting in memory and the others in a file."""
    for most in [1, 300, 2**20]:
        for seed in range(60):
            monkeypatch.setattr(listings, "MOST_WAITING", most)
            random_ = random.Random(seed)
            parts = ["!", "-", "+a", ".a", ".fsmedia", ".FSMEDIA", ".g", "a", "b", "store.json", "blobs"]
            names = sorted({"/".join(random_.choices(parts, k=random_.randint(1, 5))) for _ in range(80)})
            files = [name for name in names if not any(each.startswith(f"{name}/") for each in names)]
            assert own_names(files)[0] == by_definition(files)
            for folder in ("a", "-", "a/b", "a/-"):
                below = [name for name in files if name.startswith(f"{folder}/")]
                assert own_names(below, folder)[0] == by_definition(below, folder)


@pytest.mark.parametrize(
    ("told", "md5"),
    [
        ({"md5Hash": "kAFQmDzST7DWlj99KOF/cg=="}, "900150983cd24fb0d6963f7d28e17f72"),
        ({"md5Hash": "kAFQmDzST7DWlj99KOF/cg==", "etag": "CJ2"}, "900150983cd24fb0d6963f7d28e17f72"),
        ({"ETag": '"900150983cd24fb0d6963f7d28e17f72"'}, "900150983cd24fb0d6963f7d28e17f72"),
        ({"ETag": '"900150983cd24fb0d6963f7d28e17f72-3"', "md5Hash": None}, None),  # sent in parts
        ({"ETag": '"0x8DC5"'}, None),
        ({"md5Hash": "kAFQ"}, None),
        ({"md5Hash": "no base64"}, None),
        ({}, None),
    ],
)
def test_an_md5_has_one_spelling_whatever_the_storage_says(told, md5):
    """GCS and Azure tell it in base64; compared with hex it said nothing, or counted as right."""
    assert entry_of("a.bin", {"size": 3, **told}).md5 == md5


def test_most_names_are_known_to_be_references_by_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    random_, parts = (
        random.Random(4),
        ["a", "B-_9", "x.png", ".a", ".", "..", "", ".meta", "x.meta", "meta", ".fsmedia"],
    )
    parts += [".FSMEDIA", "\u00e4", "a b", "a:", "::", "?versionId=", "\n", "\0", keys.temporary_name(), "a" * 400]
    names = ["/".join(random_.choices(parts, k=random_.randint(1, 4))) for _ in range(3000)]
    names += [random_.choice(["", "/", ".", ":"]).join(random_.choices(parts, k=2)) for _ in range(1000)]
    names += [keys.DEDUP_INDEX_KEY, "", "/", "a" * keys.MAX_KEY, "a" * (keys.MAX_KEY + 1), "a://b", "a\n"]
    known = [keys.is_reference(name) for name in names]
    monkeypatch.setattr(keys, "_PLAIN", re.compile("(?!)"))
    assert known == [keys.is_reference(name) for name in names]
    assert 300 < sum(known) < 2000


XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
PAGES = [
    XML
    + b"""<Name>media</Name><Prefix>a%2Bb/</Prefix><NextContinuationToken>1ueG</NextContinuationToken>
<KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><IsTruncated>true</IsTruncated><Contents><Key>a%2Bb/x.png</Key>
<LastModified>2026-03-04T05:06:07.000Z</LastModified><ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag>
<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><Size>3</Size><StorageClass>STANDARD</StorageClass></Contents><Contents>
<Key>a%2Bb/x.png.meta</Key><LastModified>2026-03-04T05:06:08.000Z</LastModified><ETag>&#34;900-2&#34;</ETag>
<Size>4</Size><Owner><ID>7</ID><DisplayName>me</DisplayName></Owner><StorageClass>GLACIER</StorageClass><RestoreStatus>
<IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents></ListBucketResult>""",
    XML
    + """
  <Name>media-1</Name><IsTruncated>false</IsTruncated><Prefix/>
  <MaxKeys>1000</MaxKeys>
  <Contents>
    <Key>a&amp;b &lt;\N{LATIN SMALL LETTER A WITH DIAERESIS}.png</Key>
    <LastModified>2026-11-30T04:28:17.77Z</LastModified>
    <ETag>99914b932bd37a50b983c5e7c90ae93b</ETag>
    <Size>2</Size>
    <StorageClass></StorageClass>
  </Contents>
  <Contents><Key>b.png</Key><Size>2</Size><LastModified>2026-11-30T04:28:17Z</LastModified></Contents>
  <KeyCount>2</KeyCount>
</ListBucketResult>
""".encode(),
]
PIECES = b"""< > & &amp; &#65; &#0; &copy ]]> <!-- --> <a> </a> </Key> <Key> <Key/> </Size> 1 - Z <Contents> </Contents>
<Contents/> <Key>x</Key> <Size>7</Size> <Size>-1</Size> <ETag/> <ETag>q</ETag> <StorageClass>Z</StorageClass>
<![CDATA[x]]> <?x?> <Owner><ID>8</ID></Owner> <LastModified>2026-11-30T04:28:17.77Z</LastModified> </ListBucketResult>
<ListBucketResult> <Prefix>p/</Prefix> <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>""".split()
PIECES += b" |\0|\r\n|\x0b|\x85|\xc2\x85|\xef\xbf\xbf|\xff|\xed\xa0\x80|\xd9\xa1|<a b='c'/>".split(b"|")
LIST_OBJECTS = Session().get_service_model("s3").operation_model("ListObjectsV2")


def changed(page: bytes, random_: random.Random) -> bytes:
    """Put something in, leave something out, or cut the end off, mostly where elements begin and end."""
    for _ in range(random_.choice([1, 1, 1, 2])):
        borders = [at + more for at, each in enumerate(page) if each in b"<>" for more in (0, 1)]
        at = random_.choice(borders) if borders and random_.random() < 0.5 else random_.randint(0, len(page))
        piece, gone = random_.choice(PIECES), random_.choice([1, 1, 2, 5, 20, 100, len(page)])
        page = page[:at] + (piece + page[at:] if random_.random() < 0.7 else page[at + gone :])
    return page


def objects_read(page: bytes, *, fast: bool) -> tuple[str, list[object], bool]:
    """Read a listing: what it says but for its objects, these, and whether they were read by us."""
    answer, own = {"body": page, "headers": {}, "status_code": 200}, {}
    if fast:
        _read_objects(answer, own)
    try:
        told = RestXMLParser().parse(answer, LIST_OBJECTS.output_shape) | own
    except (ResponseParserError, ValueError, TypeError) as error:
        return type(error).__name__, [], False
    objects = told.pop("Contents", [])
    for each in objects:
        when = each.get("LastModified")
        if isinstance(when, datetime):  # without a zone it is in UTC
            each["LastModified"] = when if when.tzinfo else when.replace(tzinfo=UTC)
    names = ("Key", "Size", "ETag", "StorageClass", "LastModified")
    return (
        re.sub(" at 0x[0-9a-f]+", "", repr(told)),
        [[each.get(name) for name in names] for each in objects],
        bool(own),
    )


@pytest.mark.filterwarnings("ignore:tzname")
def test_the_objects_of_a_listing_are_read_as_botocore_reads_them_or_left_to_it() -> None:
    """However a page is damaged: what is no XML to botocore is none, and no object is more, less or another."""
    for page in PAGES:
        assert objects_read(page, fast=True) == (*objects_read(page, fast=False)[:2], True)
    random_, ours = random.Random(4), 0
    for _ in range(2000):
        page = changed(random_.choice(PAGES), random_)
        rest, objects, by_us = objects_read(page, fast=True)
        wanted = objects_read(page, fast=False)
        # Two times one element is a list of elements to botocore, no two of which are equal.
        assert rest == wanted[0], page
        assert objects == wanted[1] or (not by_us and "Element" in repr(wanted[1])), page
        ours += by_us
    assert ours > 60


@pytest.mark.parametrize(
    "middle",
    [
        b"<Key>a</Key>" * 100_000 + b"<x y='1'/>",
        b"<a><b></b>" * 100_000,
        b"<Owner>" + b"<ID></ID>" * 100_000,
        b"<" * 10**6,
    ],
    ids=["keys", "open", "inner", "signs"],
)
def test_no_page_takes_long(middle: bytes) -> None:
    """The expression has one way only to read a page: else a page of 600 bytes took days."""
    begun = time.process_time()
    for page in (
        PAGES[0].replace(b"<Key>", b"<Key>" + middle, 1),
        PAGES[0].replace(b"<Contents>", b"<Contents>" + middle),
    ):
        _read_objects({"body": page, "headers": {}, "status_code": 200}, own := {})
        assert not own
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("page", "after"),
    [
        ("<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b+/=</NextContinuationToken>", "a&b+/="),
        ("<NextContinuationToken>a</NextContinuationToken><Contents/><IsTruncated>true</IsTruncated>", "a"),
        ("<IsTruncated>false</IsTruncated><NextContinuationToken>a</NextContinuationToken>", ""),
        ("<IsTruncated>true</IsTruncated><NextContinuationToken>cut o", ""),
        ("<IsTruncated>true</IsTruncated>", ""),
        ("", ""),
    ],
)
def test_what_the_next_page_is_asked_for_with(page: str, after: str) -> None:
    assert _after(page.encode()) == after
