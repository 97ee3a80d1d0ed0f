"""Artifacts of MLflow: the same calls on its own repository on disk and on ours give the same answers."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import fsspec
import pytest

from fsmedia import MediaStore
from tests.frameworks import ITS_OWN_WARNINGS, need

need("mlflow", "mlflow.store.artifact.artifact_repo")

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from fsmedia.exchange.frameworks.mlflow import FsmediaArtifactRepository

pytestmark = ITS_OWN_WARNINGS
PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)
NUMBERS = count()
PLACES = [None, "", "plots", "a/b", "a b/ü 名"]
HOSTILE = ["../x", "/etc", "a/../../x", ".."]


@pytest.fixture
def name(monkeypatch):
    """Give the name of a store that was made."""
    root = f"memory://mlflow-{next(NUMBERS)}"
    monkeypatch.setenv("FSMEDIA_STORE_LAB", root)
    MediaStore(root).create()
    return root


@pytest.fixture
def both(name, tmp_path):
    (tmp_path / "theirs").mkdir()
    return LocalArtifactRepository(str(tmp_path / "theirs")), FsmediaArtifactRepository(
        "media://@lab/runs/r1/artifacts"
    )


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    for name, data in {"a.png": PNG, "deep/er/b.txt": b"b", "deep/ü c": b"", "deep/a.png": b"other"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def told(found):
    return sorted((each.path, each.is_dir, each.file_size) for each in found)


def downloaded(repository, path, tmp_path):
    to = tmp_path / f"to-{next(NUMBERS)}"
    to.mkdir()
    try:
        at = Path(repository.download_artifacts(path, str(to)))
    except (MlflowException, OSError) as error:
        return "error" if error else None
    files = [at] if at.is_file() else sorted(each for each in at.rglob("*") if each.is_file())
    return {each.relative_to(to).as_posix(): each.read_bytes() for each in files}


def agree(both, path, tmp_path):
    theirs, ours = both
    assert told(ours.list_artifacts(path)) == told(theirs.list_artifacts(path))
    assert downloaded(ours, path or "", tmp_path) == downloaded(theirs, path or "", tmp_path)


def test_files_and_folders_are_answered_alike(both, files, tmp_path):
    for place in PLACES:
        for each in both:
            each.log_artifact(str(files / "a.png"), place)
            each.log_artifacts(str(files), place)
        for path in (place, f"{place}/deep" if place else "deep", f"{place}/a.png" if place else "a.png", "none"):
            agree(both, path, tmp_path)
    (files / "a.png").write_bytes(b"new")
    for each in both:
        each.log_artifact(str(files / "a.png"))
    agree(both, None, tmp_path)
    for path in ("a.png", "plots/deep", "none", "a"):
        for each in both:
            each.delete_artifacts(path)
        agree(both, None, tmp_path)
        agree(both, path, tmp_path)
    for each in both:
        each.delete_artifacts()
    assert both[1].list_artifacts() == both[0].list_artifacts() == []


def test_paths_that_lead_out_are_refused(both, files):
    for path in HOSTILE[:1] + HOSTILE[2:]:
        for each in both:
            with pytest.raises((MlflowException, ValueError)):
                each.log_artifact(str(files / "a.png"), path)
    assert both[1].list_artifacts() == []


def test_a_run_of_mlflow_is_a_run_of_the_store(name, files, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "tracking").as_uri())
    experiment = mlflow.create_experiment("painting", artifact_location="media://@lab/runs")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifact(str(files / "a.png"), "plots")
        mlflow.log_text("a cat", "prompt.txt")
    store = MediaStore(name)
    references = list(store.list(run_id=run.info.run_id))
    assert references == [f"runs/{run.info.run_id}/artifacts/{each}" for each in ("plots/a.png", "prompt.txt")]
    assert store.read(references[0]) == PNG
    at = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="prompt.txt", dst_path=str(tmp_path))
    assert Path(at).read_text() == "a cat"
    assert [each.path for each in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == ["plots", "prompt.txt"]
    assert store.verify(deep=True).whole


def test_the_entry_point_is_found(name):
    assert isinstance(get_artifact_repository("media://@lab/runs/r1/artifacts"), FsmediaArtifactRepository)


def test_what_a_policy_let_go_is_gone_as_after_a_delete(name, files, tmp_path):
    now = [datetime(2026, 3, 4, tzinfo=UTC)]
    store = MediaStore(name, now=lambda: now[0])
    store.change_settings(default_policy="delete-after-5min")
    fsspec.config.conf.pop("media", None)
    (tmp_path / "theirs").mkdir()
    both = (
        LocalArtifactRepository(str(tmp_path / "theirs")),
        FsmediaArtifactRepository("media://@lab/runs/r1/artifacts"),
    )
    for each in both:
        each.log_artifact(str(files / "a.png"), "plots")
    later = datetime.now(UTC) + timedelta(minutes=6)
    assert len(MediaStore(name).enforce_policy(now=later).deleted) == 1
    both[0].delete_artifacts("plots/a.png")
    (tmp_path / "theirs" / "plots").rmdir()  # an empty folder, which no object store has
    agree(both, None, tmp_path)
    agree(both, "plots/a.png", tmp_path)
