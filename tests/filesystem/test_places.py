"""Which folder a relative root means, and which secrets a root may show; each test named after its story."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import fsspec
import pytest
from fsspec.config import conf

from fsmedia import InvalidReferenceError, MediaStore

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {
    "root": lambda: fsspec.open("media://x", root="rel/m"),
    "url": lambda: fsspec.open("media://x", url="file://rel/m"),
    "chain": lambda: fsspec.open("media://x::rel/m"),
    "environment": lambda: fsspec.open("media://x"),
    "name": lambda: fsspec.open("media://@lab/x"),
    "configured name": lambda: fsspec.open("media://@other/x"),
    "given name": lambda: fsspec.open("media://@third/x", stores={"third": "rel/m"}),
}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    places = [tmp_path / name for name in "ab"]
    for place in places:
        MediaStore(place / "rel" / "m").create().fs.pipe_file("x", place.name.encode())
    monkeypatch.setenv("FSMEDIA_URL", "rel/m")
    monkeypatch.setenv("FSMEDIA_STORE_LAB", "rel/m")
    return places


@pytest.mark.parametrize("form", FORMS)
def test_a_relative_root_means_another_folder_after_a_chdir(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    if form == "configured name":
        conf["media"] = {"stores": {"other": {"url": "rel/m"}}}
    opened = []
    for place in places:
        monkeypatch.chdir(place)
        with FORMS[form]() as file:
            assert file.read().decode() == place.name
        opened.append(FORMS[form]().fs)
        assert FORMS[form]().fs is opened[-1]
        assert opened[-1].cat_file("media://x::rel/m") == opened[-1].cat_file("media://x::file://rel/m")
    assert opened[0] != opened[1]
    assert [fs.cat_file("x") for fs in opened] == [b"a", b"b"]
    assert [pickle.loads(pickle.dumps(fs)).cat_file("x") for fs in opened] == [b"a", b"b"]
    with pytest.raises(InvalidReferenceError, match="another store"):
        opened[0].cat_file("media://x::rel/m")


def test_a_chdir_does_not_open_absolute_roots_and_others_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in (str(tmp_path / "m"), f"file://{tmp_path}/m", f"memory://{tmp_path.name}"):
        monkeypatch.chdir("/")
        before = fsspec.filesystem("media", root=root)
        monkeypatch.chdir(tmp_path)
        assert fsspec.filesystem("media", root=root) is before


def test_a_current_directory_that_is_gone_only_matters_to_relative_roots(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(places[0])
    fsspec.filesystem("media", root="rel/m")
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidReferenceError, match="current directory is gone"):
        fsspec.filesystem("media", root="rel/m")
    fs = fsspec.filesystem("media", root=str(places[1] / "rel" / "m"))
    assert fs.cat_file("x") == b"b"
    with pytest.raises(InvalidReferenceError, match="another store"):
        fs.cat_file("media://x::rel/m")


@pytest.mark.parametrize("form", ["root", "fo"])
def test_a_password_in_the_roots_url_is_not_in_its_json(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    url = "ftp://me:pw-Jt65@host.invalid/media"
    options = {"root": url} if form == "root" else {"fo": url[6:], "target_protocol": "ftp"}
    monkeypatch.setattr("ftplib.FTP.connect", lambda *_, **__: "")
    monkeypatch.setattr("ftplib.FTP.login", lambda *_, **__: "")
    fs = fsspec.filesystem("media", skip_instance_cache=True, **options)
    assert "pw-Jt65" in fs.to_json()
    for shown in (fs.to_json(include_password=False), repr(fs.to_dict(include_password=False)), repr(fs)):
        assert "pw-Jt65" not in shown
        assert "host.invalid/media" in shown
