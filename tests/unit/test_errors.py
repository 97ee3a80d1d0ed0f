"""Errors: the fitting builtin, one readable line with a next step, pickles, and no secret in any of it."""

import copy
import errno
import pickle
import traceback
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia import errors
from fsmedia.errors import BulkError, ForeignCall, MediaError, MediaNotFoundError, StorageError
from fsmedia.storage.errors import ErrorTranslator, redact, secrets_of, storage_error

BUILTINS = {
    "InvalidMediaError": ValueError, "InvalidReferenceError": ValueError, "InvalidLayoutError": ValueError,
    "UnknownPolicyError": ValueError, "MediaTooLargeError": ValueError, "MediaNotFoundError": FileNotFoundError,
    "HeldMediaError": PermissionError, "ReadOnlyStoreError": PermissionError, "StoreConflictError": FileExistsError,
    "CorruptMediaError": OSError, "CorruptSidecarError": ValueError, "StorageError": OSError,
}  # fmt: skip
KINDS = [getattr(errors, name) for name in BUILTINS]
LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
CONTROLS = "\x1b\0\x07\x9b\u202e" + LINE_BREAKS
HOSTILE = st.one_of(st.text(), st.text(alphabet=st.sampled_from(CONTROLS + " a/;:'\"\\")), st.just("x" * 5000))


def one_line(text: str) -> bool:
    return len(text.splitlines()) == 1 and text.isprintable()


def pickled(error: MediaError) -> MediaError:
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, MediaError)
    return again


def test_every_kind_is_the_builtin_that_fits_and_the_builtins_stay_apart() -> None:
    for name, builtin in BUILTINS.items():
        kind = getattr(errors, name)
        assert issubclass(kind, MediaError)
        assert issubclass(kind, builtin)
        with pytest.raises(builtin):
            raise kind("went wrong", reference="runs/r1/x.png")
    found = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, MediaError)}
    assert found == {*BUILTINS, "MediaError", "BulkError"}
    # `except FileNotFoundError` must not catch what the storage failed at, nor the other way round.
    assert not issubclass(StorageError, FileNotFoundError | PermissionError)
    assert not issubclass(MediaNotFoundError, StorageError | ValueError)
    assert not issubclass(errors.InvalidReferenceError, OSError)


def test_text_is_name_problem_and_next_step_escaped_and_cut() -> None:
    error = MediaNotFoundError("no such media", next_step="list the store", reference="runs/r1/x.png")
    assert str(error) == "runs/r1/x.png: no such media; list the store"
    assert error.args == (str(error),)
    assert (error.reference, error.key) == ("runs/r1/x.png", None)
    assert str(StorageError("failed", key=".fsmedia/store.json")) == ".fsmedia/store.json: failed"
    assert str(MediaError("failed")) == "failed"
    assert str(MediaError("failed", reference="a", key="b")) == "a: failed"
    assert str(MediaError("failed", reference="")) == "'': failed"
    text = str(MediaError("p", reference="a\nERROR b\x1b[31m\u202e"))
    assert (text, str(MediaError("p", reference=" a"))) == (r"'a\nERROR b\x1b[31m\u202e': p", "' a': p")
    assert str(MediaError("p", reference="é a/ü.png")) == "é a/ü.png: p"
    assert str(MediaError("p", reference="\ud800")) == r"'\ud800': p"
    assert type(MediaError("p", reference=type("Name", (str,), {})("a")).reference) is str
    error = MediaError("p", reference="x" * 5000)
    assert (str(error), error.reference) == (f"{'x' * 200}...(5000 characters): p", "x" * 5000)


@given(HOSTILE)
def test_no_reference_breaks_the_line(reference: str) -> None:
    for error in (MediaError("p", next_step="n", reference=reference), MediaError("p", next_step="n", key=reference)):
        assert one_line(str(error))
        assert str(error).endswith(": p; n")
        assert len(str(error)) < 3200
        str(error).encode()
    assert MediaError("p", reference=reference).reference == reference


def test_errors_pickle_and_copy_without_a_cause_and_bulk_ones_with_what_succeeded_and_failed() -> None:
    for kind in [MediaError, *KINDS]:
        for through in [pickled, copy.copy, copy.deepcopy]:
            error = kind("went wrong", next_step="do this", reference="runs/r1/x.png", key="k")
            error.add_note("seen by a worker")
            again = through(error)
            assert type(again) is kind
            assert again is not error
            assert (again.problem, again.next_step, again.reference, again.key) == (
                "went wrong", "do this", error.reference, "k",
            )  # fmt: skip
            assert (again.args, str(again), again.__notes__) == (error.args, str(error), ["seen by a worker"])
    # A cause may be of a class that does not pickle, or know a secret.
    for kind in KINDS:
        error = kind("went wrong", key="k")
        error.__cause__ = OSError("secret")
        assert b"secret" not in pickle.dumps(error)
    lost = MediaNotFoundError("no such media", next_step="list the store", reference="a\nb")
    error = BulkError({0: "runs/r1/x.png", 2: "runs/r1/y.png"}, {1: lost})
    assert (error.results, error.errors) == ({0: "runs/r1/x.png", 2: "runs/r1/y.png"}, {1: lost})
    assert str(error).startswith(r"1 of 3 failed, first: 'a\nb': no such media; list the store")
    assert "`.errors`" in str(error)
    assert one_line(str(error))
    assert one_line(str(BulkError({}, {})))
    assert not isinstance(error, ValueError | OSError)
    error = BulkError({0: "runs/r1/x.png"}, {1: StorageError("failed", reference="b"), 7: MediaError("p")})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is BulkError
    assert (again.results, list(again.errors)) == (error.results, [1, 7])
    assert type(again.errors[1]) is StorageError
    assert (again.errors[1].reference, str(again)) == ("b", str(error))
    results: dict[int, object] = {0: "a"}
    failed: dict[int, MediaError] = {1: MediaError("p")}
    error = BulkError(results, failed)
    results.clear()
    failed.clear()
    assert (list(error.results), list(error.errors)) == ([0], [1])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_foreign_calls_and_translators_keep_nothing_that_ends_the_process(kind: type[BaseException]) -> None:
    call = ForeignCall()
    with pytest.raises(kind), call:
        raise kind
    assert call.error is None
    with pytest.raises(kind), ErrorTranslator("k", SECRETS):
        raise kind


PASSWORD = "hunter2-wJalrXUtnFEMI-bPxRfiCYEXAMPLEKEY"
KEY_FILE = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
SECRETS = frozenset({PASSWORD, KEY_FILE})
LINES_OF_KEY = ("MIIEvQIBADANBg", "kqhkiG9w0BAQEF")
WORDS = st.text(alphabet=st.sampled_from("abc"), min_size=4, max_size=8)


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
    assert [secret for secret in (PASSWORD, *LINES_OF_KEY) if secret in text] == []


def test_each_failure_says_what_to_do_and_keeps_its_cause_where_it_shows_nothing_and_never_a_context() -> None:
    for error, step in [
        (PermissionError("no"), "check the credentials"), (TimeoutError("late"), "timeout"),
        (FileNotFoundError("gone"), "bucket or folder"), (OSError(errno.ENOSPC, "full"), "free some space"),
        (OSError(errno.EDQUOT, "full"), "free some of the quota"), (OSError(errno.EROFS, "ro"), "read-only"),
        (OSError(errno.ENAMETOOLONG, "long"), "shorten"), (OSError(errno.EMFILE, "many"), "open files"),
        (OSError(errno.EIO, "disk"), "try again"), (RuntimeError("odd"), "try again"),
        (ConnectionResetError("reset"), "try again"),
    ]:  # fmt: skip
        raised = caught(error)
        assert step in raised.next_step
        assert type(error).__name__ in str(raised)
        assert raised.key == "runs/r1/x.png"
        assert raised.reference is None
        assert str(raised).startswith("runs/r1/x.png: ")
    cause = OSError(errno.EIO, "disk on fire")
    raised = caught(cause)
    assert raised.__cause__ is cause
    assert "disk on fire" in str(raised)
    assert "(RuntimeError: RuntimeError)" in str(caught(RuntimeError()))
    raised = caught(OSError(PASSWORD))
    assert raised.__cause__ is None
    assert raised.__suppress_context__
    again = pickle.loads(pickle.dumps(caught(OSError("x"))))
    assert isinstance(again, StorageError)
    assert isinstance(again, MediaError)
    assert again.key == "runs/r1/x.png"


def test_our_own_errors_pass_as_they_are_and_a_foreign_call_keeps_its_error_and_what_was_done_before() -> None:
    error = MediaNotFoundError("no such media", reference="a")
    with pytest.raises(MediaNotFoundError) as info, ErrorTranslator("k", SECRETS):
        raise error
    assert info.value is error
    with ErrorTranslator("k", SECRETS):
        done = True
    assert done
    done = []
    with ForeignCall() as call:
        done.append(1)
        raise ZeroDivisionError("not ours")
    assert done == [1]
    assert isinstance(call.error, ZeroDivisionError)
    with ForeignCall() as call:
        done.append(2)
    assert call.error is None


def test_no_secret_gets_out_in_any_way_nor_through_a_chain() -> None:
    for secret in [PASSWORD, KEY_FILE]:
        for make in MAKERS.values():
            raised = caught(make(secret))
            show_nothing(raised)
            assert raised.next_step
    error = OSError("denied")
    error.add_note(f"while signing with {PASSWORD}")
    show_nothing(caught(error))
    raised = caught(ExceptionGroup("both tries failed", [OSError(PASSWORD), OSError("late")]))
    assert PASSWORD not in everything(raised)
    cause = raised.__cause__
    assert not isinstance(cause, ExceptionGroup) or PASSWORD not in repr(cause.exceptions)
    for attribute in ("__cause__", "__context__"):
        error: BaseException = OSError(PASSWORD)
        for level in range(3):
            outer = RuntimeError(f"level {level}")
            setattr(outer, attribute, error)
            error = outer
            show_nothing(caught(error))


@given(st.text(), st.integers(0, 400), st.frozensets(WORDS, max_size=4), st.text(alphabet=st.sampled_from("abc ")))
@example("a\nERROR b", 290, frozenset(), "")
@example("\x1b[2J\x1b[31mred", 0, frozenset(), "")
@example("\u2028\x85", 0, frozenset(), "")
def test_the_text_is_one_line_and_no_secret_is_left_also_of_one_that_is_cut(text, before, secrets, rest) -> None:
    """A server's words must neither forge a line of a log nor steer a terminal."""
    shown = str(storage_error(OSError(text), "k"))
    assert shown.isprintable()
    assert len(shown) < 700
    cut = storage_error(OSError("x" * before + PASSWORD + " denied"), "k", frozenset({PASSWORD}))
    assert PASSWORD[:6] not in str(cut)
    redacted = redact(rest + "".join(secrets) + rest, secrets)
    assert not any(secret in redacted for secret in secrets)


def test_secrets_are_all_but_what_is_known_to_be_open_and_those_inside_an_endpoint() -> None:
    options = {
        "key": "AKIAEXAMPLE", "secret": PASSWORD, "token": {"private_key": KEY_FILE, "type": b"bytes-token"},
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9000", "region_name": "eu-1", "aws_id": "in-nested"},
        "headers": [("Authorization", "Bearer abc"), "x-key"], "anon": False, "port": 9000, "short": "abc",
        "project": "my-project",
    }  # fmt: skip
    assert secrets_of(options) == {
        "AKIAEXAMPLE", PASSWORD, KEY_FILE, "bytes-token", "in-nested", "Authorization", "Bearer abc", "x-key",
    }  # fmt: skip
    assert secrets_of({}) == frozenset()
    # botocore quotes the endpoint it could not reach.
    endpoint = f"https://user:{PASSWORD}@minio.example:9000"
    secrets = secrets_of({"client_kwargs": {"endpoint_url": endpoint}})
    raised = caught(OSError(f'Could not connect to the endpoint URL: "{endpoint}/bucket"'), secrets)
    assert PASSWORD not in everything(raised)
    assert "minio.example" in str(raised)
    assert redact("abcdefgh abcd", frozenset({"abcd", "abcdefgh"})) == "*** ***"
    assert redact("nothing here", frozenset()) == "nothing here"
