"""The soak of `python -m tests.soak`, for a short while; and what it says of a store that something is taken from."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import soak
from tests.soak import OWN, Operation, Oracle, Picture, Soak, Verdict


@pytest.mark.full
@pytest.mark.parametrize("how", [[], ["--deduplicate"]])
@pytest.mark.parametrize("storage", ["local", "s3"])
def test_two_minutes_on_each_storage_lose_nothing(storage: str, how: list[str], tmp_path: Path, capsys) -> None:
    words = ["--minutes", "1", "--storage", storage, "--folder", str(tmp_path / "soak"), *how]
    assert soak.main(words) == 0, capsys.readouterr().out


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    """Give a short soak that went well, of a deduplicated store."""
    asked = soak.arguments(["--minutes", "0.15", "--processes", "2", "--deduplicate", "--seed", "7"])
    with soak.soaking(asked, tmp_path_factory.mktemp("soak"), say=lambda _: None) as made:
        assert made.run(), "\n".join(made.summary())
        yield made


def judged(soaked: Soak) -> Verdict:
    return soaked.oracle.check(soaked.looker.picture(), mended=True)


def test_a_few_seconds_lose_nothing_and_whatever_is_taken_is_missed(soaked: Soak) -> None:
    assert soaked.counts.total() > 10
    assert soaked.owed > 0
    root, seen = Path(soaked.job.url), soaked.looker.picture()
    assert judged(soaked).good
    own = next(name for name in seen.media if OWN.fullmatch(name.rpartition("/")[2]))
    digest, generation = (OWN.fullmatch(own.rpartition("/")[2]) or {})["digest"], own.rpartition("-")[2][:26]
    shared, sidecar = root / f".fsmedia/blobs/{digest[:2]}/{digest}/data/{generation}", root / f"{own}.meta"
    for file, what in ((shared, "dangling"), (sidecar, "lost")):
        data = file.read_bytes()
        file.unlink()
        assert own in getattr(judged(soaked), what)
        file.write_bytes(data)
    for stage, own_hold in ((".tmp-u939f5a866fff65220b50c1f449", False), ("5" * 64, True)):
        file = root / f".fsmedia/holds/{stage}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"reference": own}))
        assert (own in soaked.looker.picture().held) == own_hold
        file.unlink()
    said = json.loads(text := sidecar.read_text())
    sidecar.write_text(json.dumps(said | {"sha256": "0" * 64}))
    assert [each.partition(" ")[0] for each in judged(soaked).torn] == [own]
    sidecar.write_text(text)
    shared.write_bytes(data := shared.read_bytes()[::-1])
    assert own in "".join(judged(soaked).lost)
    shared.write_bytes(data[::-1])
    assert judged(soaked).good


NAME, OTHER = "runs/r1/0000_00_u01m8343t30ehsv9fkm039etnz4.bin", "runs/r2/f.bin"
MADE = ("store", 1, 2, {"makes": {NAME: 0}})
LASTING = {"spares": [NAME]}
SHORTENED, HELD = ("policy", 3, 4, {"exposes": [NAME]}), ("hold", 3, 4, {"holds": NAME})
OWED = {
    "made": ([MADE], True),
    "made, unanswered": ([("overwrite", 1, 2, {"makes": {NAME: 0}}, False)], False),
    "deleted": ([MADE, ("delete", 3, 4, {"takes": [NAME]})], False),
    "a delete without an answer": ([MADE, ("delete", 3, 4, {"takes": [NAME]}, False)], False),
    "refused": ([MADE, ("delete", 3, 4, {"takes": [NAME], "untouched": [NAME]}, False)], True),
    "deleted before": ([("delete", 0, 0.5, {"takes": [NAME]}), MADE], True),
    "deleted at the same time": ([("delete", 0, 1.5, {"takes": [NAME]}), MADE], False),
    "its run erased": ([MADE, ("erase", 3, 4, {"erases": "r1"})], False),
    "another run erased": ([MADE, ("erase", 3, 4, {"erases": "r11"})], True),
    "swept without a policy": ([MADE, ("sweep", 3, 4, {"sweeps": True})], True),
    "swept": ([MADE, SHORTENED, ("sweep", 5, 6, {"sweeps": True})], False),
    "spared too late": ([MADE, SHORTENED, ("policy", 5, 7, LASTING), ("sweep", 6, 8, {"sweeps": True})], False),
    "spared": ([MADE, SHORTENED, ("policy", 5, 6, LASTING), ("sweep", 7, 8, {"sweeps": True})], True),
    "held": ([MADE, HELD, ("delete", 5, 6, {"takes": [NAME]})], True),
    "held too late": ([MADE, HELD, ("delete", 3.5, 6, {"takes": [NAME]})], False),
    "released": ([MADE, HELD, ("release", 5, 9, {"releases": NAME}), ("delete", 6, 7, {"takes": [NAME]})], False),
}


def oracle_of(told: list[tuple]) -> Oracle:
    made = Oracle()
    made.add([Operation(kind, begun, ended, [*done, True][0], words) for kind, begun, ended, words, *done in told])
    return made


@pytest.mark.parametrize("case", OWED)
def test_what_is_owed(case: str) -> None:
    told, owed = OWED[case]
    assert (oracle_of(told).owed(NAME) is not None) is owed
    assert oracle_of(told).check(Picture()).lost == ([NAME] if owed else [])


def test_who_moves_may_leave_two_but_never_none() -> None:
    oracle = oracle_of([MADE, ("move", 3, 4, {"copies": [NAME, OTHER], "takes": [NAME]}, False)])
    assert oracle.owed(NAME) == {NAME, OTHER}
    assert oracle.owed(OTHER) is None


def test_what_is_not_found_while_it_was_owed_is_lost_though_it_was_deleted_later() -> None:
    missed = ("read", 3, 4, {"reads": NAME, "error": "MediaNotFoundError", "text": "gone"}, False)
    assert oracle_of([MADE, missed, ("delete", 5, 6, {"takes": [NAME]})]).check(Picture()).lost
    assert not oracle_of([MADE, ("delete", 2.5, 6, {"takes": [NAME]}), missed]).check(Picture()).lost


def test_a_hold_of_nothing_protects_nothing() -> None:
    """A repair takes it away; what was copied to its name and deleted after that was called lost."""
    oracle = oracle_of([])
    oracle.begin(Picture(held={NAME}), 0)
    later = oracle_of([MADE, ("delete", 3, 4, {"takes": [NAME]})]).operations
    oracle.add([each for each in later if each.kind != "seen"])
    assert oracle.check(Picture()).lost == []
