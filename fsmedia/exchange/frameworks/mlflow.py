"""MLflow's artifacts in a store: a plugin for `media://@name/...`, found as entry point `media`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from fsmedia.errors import MediaNotFoundError


class FsmediaArtifactRepository(ArtifactRepository):
    """Artifacts as files of `media://`; see `ArtifactRepository` for the methods.

    With `media://@name/runs` as the place of an experiment's artifacts, an MLflow run is a run of a store by run. What
    is logged again under its name replaces what was there, as in MLflow's own; policies and attributes stay.
    """

    def __init__(self, artifact_uri: str, *args: Any, **named: Any) -> None:
        super().__init__(artifact_uri, *args, **named)
        self.fs, self._root = url_to_fs(artifact_uri)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Store a file."""
        self.fs.put_file(local_file, self._path(artifact_path, Path(local_file).name))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Store all files of a folder."""
        for file in sorted(each for each in Path(local_dir).rglob("*") if each.is_file()):
            self.fs.put_file(str(file), self._path(artifact_path, file.relative_to(local_dir).as_posix()))

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Return the files and folders in a folder; nothing for a file, and where nothing is."""
        folder = self._path(path)
        try:
            found = [each for each in self.fs.ls(folder) if each["name"] != folder]
        except MediaNotFoundError:
            return []  # what its retention policy has let go, too
        below = len(self._path()) + 1
        infos = [(each["name"][below:], each["type"] == "directory", each["size"]) for each in found]
        return [FileInfo(name, is_dir, None if is_dir else size) for name, is_dir, size in sorted(infos)]

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file or a folder; what is not there counts as deleted."""
        if self.fs.exists(path := self._path(artifact_path)):
            self.fs.rm(path, recursive=True)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        self.fs.get_file(self._path(remote_file_path), local_path)

    def _path(self, *parts: str | None) -> str:
        return "/".join(part.strip("/") for part in (self._root, *parts) if part)
