"""What `create_media` hands out: it stores at the end of its block, or leaves nothing, and says which."""

from __future__ import annotations

import pytest

from fsmedia import InvalidMediaError, MediaTooLargeError
from tests.contract.specimens import LIMIT, R1, of_size

MP4 = "video/mp4"


class Interrupted(BaseException):
    """What a user's Ctrl-C is like."""


def test_a_writer_that_gets_too_much_is_given_up(limited, unchanged):
    def write_on() -> None:
        with limited.create_media(R1, MP4) as writer:
            writer.write(of_size(LIMIT))
            writer.write(b"!")

    with unchanged(), pytest.raises(MediaTooLargeError):
        write_on()


def test_a_writer_whose_block_goes_on_after_a_refused_write_says_so_at_the_end(limited, unchanged):
    def write_on() -> None:
        with limited.create_media(R1, MP4) as writer:
            with pytest.raises(MediaTooLargeError):
                writer.write(of_size(LIMIT + 1))
            with pytest.raises(InvalidMediaError, match="not open"):
                writer.write(b"more")

    with unchanged(), pytest.raises(InvalidMediaError, match="given up"):
        write_on()


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt(), Interrupted()], ids=repr)
@pytest.mark.parametrize("size", [10, 9 * 2**20], ids=["in memory", "in a file"])
def test_an_exception_in_the_block_stores_nothing_and_comes_out(storage, open_store, unchanged, error, size):
    store = open_store()

    def fail() -> None:
        with store.create_media(R1, MP4) as writer:
            writer.write(of_size(size))
            raise error

    with unchanged(), pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error


def test_a_writer_that_was_never_entered_leaves_nothing(store, unchanged):
    with unchanged():
        writer = store.create_media(R1, MP4)
        with pytest.raises(InvalidMediaError, match="not open"):
            writer.write(b"x")
        with pytest.raises(InvalidMediaError, match="not stored"):
            _ = writer.reference


def test_a_writer_is_used_once_and_takes_bytes(store):
    with store.create_media(R1, MP4) as writer:
        with pytest.raises(InvalidMediaError, match="bytes, not str"):
            writer.write("text")
        writer.write(b"bytes")
    assert store.retrieve_media(writer.reference).read_bytes() == b"bytes"
    with pytest.raises(InvalidMediaError, match="used already"):
        writer.__enter__()
    with pytest.raises(InvalidMediaError, match="not open"):
        writer.write(b"late")
