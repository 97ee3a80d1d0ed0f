"""What the tests of displays share: checks that explain themselves, a cache folder of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder in which previews are cached from now on."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FSMEDIA_CACHE", str(folder))
    return folder / "previews"
