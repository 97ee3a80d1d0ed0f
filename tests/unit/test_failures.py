"""Failures of storages: mapped to a next step, on one line, with no secret in text, arguments, cause or traceback."""

from __future__ import annotations

import errno
import pickle
import traceback
from collections.abc import Callable
from functools import reduce

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia.errors import MediaError, MediaNotFoundError, StorageError
from fsmedia.storage.errors import ErrorTranslator, redact, secrets_of, storage_error

PASSWORD = "hunter2-wJalrXUtnFEMI-bPxRfiCYEXAMPLEKEY"
KEY_FILE = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
SECRETS = frozenset({PASSWORD, KEY_FILE})
LINES_OF_KEY = ("MIIEvQIBADANBg", "kqhkiG9w0BAQEF")


class Odd(Exception):  # noqa: N818 - what a client of a storage may raise
    """An exception whose text is not its arguments."""

    def __init__(self, hidden: str) -> None:
        super().__init__(hidden)

    def __str__(self) -> str:
        return "odd"


MAKERS: dict[str, Callable[[str], Exception]] = {
    "in the text": lambda secret: OSError(f"denied for {secret} at s3"),
    "in a file name": lambda secret: OSError(errno.EACCES, f"denied for {secret}", f"/x/{secret}"),
    "as the text": PermissionError,
    "as a key": KeyError,
    "in a dict": lambda secret: ValueError("bad", {"token": secret}),
    "in the arguments only": Odd,
    "many times": lambda secret: RuntimeError(secret * 20),
}


def caught(error: BaseException, secrets: frozenset[str] = SECRETS) -> StorageError:
    """What comes out of `ErrorTranslator` when this is raised inside it."""
    with pytest.raises(StorageError) as info, ErrorTranslator("runs/r1/x.png", secrets):
        raise error
    return info.value


def everything(error: BaseException) -> str:
    """All that a log, a traceback or a pickle would show of an error."""
    # Lines of source are no part of it: the test's own hold the words it looks for.
    report = traceback.TracebackException.from_exception(error, lookup_lines=False)
    shown: list[BaseException | None] = [error]
    while (last := shown[-1]) is not None:
        shown.append(last.__cause__ or (None if last.__suppress_context__ else last.__context__))
    notes = [str(getattr(item, "__notes__", "")) for item in shown]
    texts = [repr(item) + str(item) for item in shown]
    return "".join([*report.format_exception_only(), *texts, *notes, repr(pickle.dumps(error))])


def show_nothing(error: BaseException) -> None:
    text = everything(error)
    assert PASSWORD not in text
    for line in LINES_OF_KEY:
        assert line not in text


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (PermissionError("no"), "check the credentials"), (TimeoutError("late"), "timeout"),
        (FileNotFoundError("gone"), "bucket or folder"), (OSError(errno.ENOSPC, "full"), "free some space"),
        (OSError(errno.EDQUOT, "full"), "free some of the quota"), (OSError(errno.EROFS, "ro"), "read-only"),
        (OSError(errno.ENAMETOOLONG, "long"), "shorten"), (OSError(errno.EMFILE, "many"), "open files"),
        (OSError(errno.EIO, "disk"), "try again"), (RuntimeError("odd"), "try again"),
        (ConnectionResetError("reset"), "try again"),
    ],
)  # fmt: skip
def test_each_failure_says_what_to_do(error: Exception, step: str) -> None:
    raised = caught(error)
    assert step in raised.next_step
    assert type(error).__name__ in str(raised)
    assert raised.key == "runs/r1/x.png"
    assert raised.reference is None
    assert str(raised).startswith("runs/r1/x.png: ")


def test_the_cause_is_kept_where_it_shows_nothing() -> None:
    cause = OSError(errno.EIO, "disk on fire")
    raised = caught(cause)
    assert raised.__cause__ is cause
    assert "disk on fire" in str(raised)


def test_a_failure_without_a_text_is_named_by_its_class() -> None:
    assert "(RuntimeError: RuntimeError)" in str(caught(RuntimeError()))


def test_our_own_errors_pass_as_they_are() -> None:
    error = MediaNotFoundError("no such media", reference="a")
    with pytest.raises(MediaNotFoundError) as info, ErrorTranslator("k", SECRETS):
        raise error
    assert info.value is error


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_pass(kind: type[BaseException]) -> None:
    with pytest.raises(kind), ErrorTranslator("k", SECRETS):
        raise kind


def test_nothing_happens_where_nothing_is_raised() -> None:
    with ErrorTranslator("k", SECRETS):
        done = True
    assert done


@pytest.mark.parametrize("secret", [PASSWORD, KEY_FILE], ids=["password", "key file"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_no_secret_gets_out(secret: str, make: Callable[[str], Exception]) -> None:
    raised = caught(make(secret))
    show_nothing(raised)
    assert raised.next_step


@pytest.mark.parametrize("attribute", ["__cause__", "__context__"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_secret_gets_out_through_a_chain(attribute: str, depth: int) -> None:
    def wrapped(inner: BaseException, number: int) -> BaseException:
        error = RuntimeError(f"level {number}")
        setattr(error, attribute, inner)
        return error

    show_nothing(caught(reduce(wrapped, range(depth), OSError(PASSWORD))))


def test_no_secret_gets_out_through_a_note() -> None:
    error = OSError("denied")
    error.add_note(f"while signing with {PASSWORD}")
    show_nothing(caught(error))


def test_no_secret_gets_out_through_a_group() -> None:
    raised = caught(ExceptionGroup("both tries failed", [OSError(PASSWORD), OSError("late")]))
    assert PASSWORD not in everything(raised)
    cause = raised.__cause__
    assert not isinstance(cause, ExceptionGroup) or PASSWORD not in repr(cause.exceptions)


def test_no_context_shows_what_the_cause_must_not() -> None:
    raised = caught(OSError(PASSWORD))
    assert raised.__cause__ is None
    assert raised.__suppress_context__


@given(st.integers(0, 400))
@example(290)
def test_a_secret_that_is_cut_is_gone_all_the_same(before: int) -> None:
    raised = storage_error(OSError("x" * before + PASSWORD + " denied"), "k", frozenset({PASSWORD}))
    assert PASSWORD[:6] not in str(raised)


@given(st.text())
@example("a\nERROR b")
@example("\x1b[2J\x1b[31mred")
@example("\u2028\x85")
def test_the_text_is_one_line(text: str) -> None:
    """A server's words must neither forge a line of a log nor steer a terminal."""
    shown = str(storage_error(OSError(text), "k"))
    assert shown.isprintable()
    assert len(shown) < 700


WORDS = st.text(alphabet=st.sampled_from("abc"), min_size=4, max_size=8)


@given(st.frozensets(WORDS, max_size=4), st.text(alphabet=st.sampled_from("abc ")))
def test_redact_leaves_no_secret(secrets: frozenset[str], rest: str) -> None:
    text = redact(rest + "".join(secrets) + rest, secrets)
    assert not any(secret in text for secret in secrets)


def test_redact_takes_the_longest_first() -> None:
    assert redact("abcdefgh abcd", frozenset({"abcd", "abcdefgh"})) == "*** ***"
    assert redact("nothing here", frozenset()) == "nothing here"


def test_secrets_are_all_but_what_is_known_to_be_open() -> None:
    options = {
        "key": "AKIAEXAMPLE",
        "secret": PASSWORD,
        "token": {"private_key": KEY_FILE, "type": b"bytes-token"},
        "client_kwargs": {
            "endpoint_url": "http://127.0.0.1:9000",
            "region_name": "eu-central-1",
            "aws_id": "in-nested",
        },
        "headers": [("Authorization", "Bearer abc"), "x-key"],
        "anon": False,
        "port": 9000,
        "short": "abc",
        "project": "my-project",
    }
    assert secrets_of(options) == {
        "AKIAEXAMPLE",
        PASSWORD,
        KEY_FILE,
        "bytes-token",
        "in-nested",
        "Authorization",
        "Bearer abc",
        "x-key",
    }
    assert secrets_of({}) == frozenset()


def test_a_password_inside_an_endpoint_is_a_secret() -> None:
    """botocore quotes the endpoint it could not reach."""
    endpoint = f"https://user:{PASSWORD}@minio.example:9000"
    secrets = secrets_of({"client_kwargs": {"endpoint_url": endpoint}})
    raised = caught(OSError(f'Could not connect to the endpoint URL: "{endpoint}/bucket"'), secrets)
    assert PASSWORD not in everything(raised)
    assert "minio.example" in str(raised)


def test_a_failure_pickles() -> None:
    again = pickle.loads(pickle.dumps(caught(OSError("x"))))
    assert isinstance(again, StorageError)
    assert isinstance(again, MediaError)
    assert again.key == "runs/r1/x.png"
