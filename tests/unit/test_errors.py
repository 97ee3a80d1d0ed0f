"""Errors: the fitting builtin, one readable line, pickles."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia import errors
from fsmedia.errors import BulkError, ForeignCall, MediaError, MediaNotFoundError, StorageError

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
    """Whether a text can go into a log or a terminal as it is."""
    return len(text.splitlines()) == 1 and text.isprintable()


def pickled(error: MediaError) -> MediaError:
    """An error as another process sees it."""
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, MediaError)
    return again


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_every_kind_is_a_media_error_and_the_builtin_that_fits(name: str, builtin: type[Exception]) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, MediaError)
    assert issubclass(kind, builtin)
    with pytest.raises(builtin):
        raise kind("went wrong", reference="runs/r1/x.png")


def test_the_table_above_is_complete() -> None:
    found = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, MediaError)}
    assert found == {*BUILTINS, "MediaError", "BulkError"}


def test_the_builtins_stay_apart() -> None:
    """`except FileNotFoundError` must not catch what the storage failed at, nor the other way round."""
    assert not issubclass(StorageError, FileNotFoundError | PermissionError)
    assert not issubclass(MediaNotFoundError, StorageError | ValueError)
    assert not issubclass(errors.InvalidReferenceError, OSError)


def test_text_is_name_problem_and_next_step() -> None:
    error = MediaNotFoundError("no such media", next_step="list the store", reference="runs/r1/x.png")
    assert str(error) == "runs/r1/x.png: no such media; list the store"
    assert error.args == (str(error),)
    assert (error.reference, error.key) == ("runs/r1/x.png", None)
    assert str(StorageError("failed", key=".fsmedia/store.json")) == ".fsmedia/store.json: failed"
    assert str(MediaError("failed")) == "failed"
    assert str(MediaError("failed", reference="a", key="b")) == "a: failed"
    assert str(MediaError("failed", reference="")) == "'': failed"


@given(HOSTILE)
def test_no_reference_breaks_the_line(reference: str) -> None:
    for error in (MediaError("p", next_step="n", reference=reference), MediaError("p", next_step="n", key=reference)):
        assert one_line(str(error))
        assert str(error).endswith(": p; n")
        assert len(str(error)) < 3200
        str(error).encode()
    assert MediaError("p", reference=reference).reference == reference


def test_hostile_references_are_shown_escaped() -> None:
    text = str(MediaError("p", reference="a\nERROR b\x1b[31m\u202e"))
    assert text == r"'a\nERROR b\x1b[31m\u202e': p"
    assert str(MediaError("p", reference=" a")) == "' a': p"
    assert str(MediaError("p", reference="é a/ü.png")) == "é a/ü.png: p"
    assert str(MediaError("p", reference="\ud800")) == r"'\ud800': p"


def test_long_names_are_cut_in_the_text_only() -> None:
    error = MediaError("p", reference="x" * 5000)
    assert str(error) == f"{'x' * 200}...(5000 characters): p"
    assert error.reference == "x" * 5000


@pytest.mark.parametrize("kind", [MediaError, *KINDS])
@pytest.mark.parametrize("through", [pickled, copy.copy, copy.deepcopy])
def test_errors_pickle_and_copy(kind: type[MediaError], through: Callable[[MediaError], MediaError]) -> None:
    error = kind("went wrong", next_step="do this", reference="runs/r1/x.png", key="k")
    error.add_note("seen by a worker")
    again = through(error)
    assert type(again) is kind
    assert again is not error
    assert (again.problem, again.next_step, again.reference, again.key) == (
        "went wrong",
        "do this",
        error.reference,
        "k",
    )
    assert again.args == error.args
    assert str(again) == str(error)
    assert again.__notes__ == ["seen by a worker"]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_pickle_without_a_cause(kind: type[MediaError]) -> None:
    """A cause may be of a class that does not pickle, or know a secret."""
    error = kind("went wrong", key="k")
    error.__cause__ = OSError("secret")
    assert b"secret" not in pickle.dumps(error)


def test_a_reference_that_is_more_than_a_str_is_kept_as_one() -> None:
    class Name(str):
        __slots__ = ()

    error = MediaError("p", reference=Name("a"))
    assert type(error.reference) is str


def test_bulk_error_holds_what_succeeded_and_what_failed() -> None:
    lost = MediaNotFoundError("no such media", next_step="list the store", reference="a\nb")
    error = BulkError({0: "runs/r1/x.png", 2: "runs/r1/y.png"}, {1: lost})
    assert error.results == {0: "runs/r1/x.png", 2: "runs/r1/y.png"}
    assert error.errors == {1: lost}
    assert str(error).startswith(r"1 of 3 failed, first: 'a\nb': no such media; list the store")
    assert "`.errors`" in str(error)
    assert one_line(str(error))
    assert one_line(str(BulkError({}, {})))
    assert not isinstance(error, ValueError | OSError)


def test_bulk_error_pickles_with_its_errors() -> None:
    error = BulkError({0: "runs/r1/x.png"}, {1: StorageError("failed", reference="b"), 7: MediaError("p")})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is BulkError
    assert again.results == error.results
    assert list(again.errors) == [1, 7]
    assert type(again.errors[1]) is StorageError
    assert again.errors[1].reference == "b"
    assert str(again) == str(error)


def test_bulk_error_does_not_change_with_the_callers_dicts() -> None:
    results: dict[int, object] = {0: "a"}
    failed: dict[int, MediaError] = {1: MediaError("p")}
    error = BulkError(results, failed)
    results.clear()
    failed.clear()
    assert list(error.results) == [0]
    assert list(error.errors) == [1]


def test_a_foreign_call_keeps_its_error_and_what_was_done_before() -> None:
    done = []
    with ForeignCall() as call:
        done.append(1)
        raise ZeroDivisionError("not ours")
    assert done == [1]
    assert isinstance(call.error, ZeroDivisionError)
    with ForeignCall() as call:
        done.append(2)
    assert call.error is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_foreign_call_keeps_nothing_that_ends_the_process(kind: type[BaseException]) -> None:
    call = ForeignCall()
    with pytest.raises(kind), call:
        raise kind
    assert call.error is None
