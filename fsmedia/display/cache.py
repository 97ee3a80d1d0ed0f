"""The local cache of previews: files that can be lost, spoiled or forbidden without harm; they are just made anew.

It lies in `$FSMEDIA_CACHE`, else in the user's cache folder; "off" keeps none. Only its owner can read it. When it
grows over its limit the previews that were not looked at for longest go.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fsmedia.display.previews import Preview

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VARIABLE = "FSMEDIA_CACHE"
MOST_BYTES = 256 * 2**20
"""Bytes that the cache may take; trimmed to nine tenths."""

_OWN = re.compile(r"[0-9a-f]{2}/(?:[0-9a-f]{62}-[0-9a-f]{64}|\.tmp-.+)")
_LARGEST = 8 * 2**20


def default_folder() -> Path | None:
    """Return where the cache lies; None where it is switched off or there is no home."""
    said = os.environ.get(VARIABLE, "").strip()
    if said.lower() in ("off", "0", "none"):
        return None
    if said:
        return Path(said).expanduser() / "previews"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        named = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(named) if named.startswith("/") else home / ".cache"
    return base / "fsmedia" / "previews"


class PreviewCache:
    """Previews by what they were made of; the first part says of whose bytes.

    Parameters
    ----------
    folder
        Where they lie; None keeps none.
    most_bytes
        What they may take together.
    """

    def __init__(self, folder: Path | None, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder if folder is not None and _is_ours(folder) else None
        self._most = most_bytes

    def get(self, parts: Sequence[object]) -> Preview | None:
        """Return a preview; None if there is none that can be trusted."""
        if self._folder is None:
            return None
        path = self._path(self._folder, parts)
        try:
            with path.open("rb") as file:
                found = Preview.unpack(file.read(_LARGEST))
            if found is not None:
                os.utime(path)
        except OSError:
            return None
        return found

    def put(self, parts: Sequence[object], preview: Preview) -> None:
        """Keep a preview, if the disk lets it; readers see all of it or nothing."""
        if self._folder is None:
            return
        path = self._path(self._folder, parts)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as file:
                # Renamed when it is whole: other processes look at the same folder.
                try:
                    file.write(preview.pack())
                    file.close()
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise

    def trim(self) -> None:
        """Remove what was not looked at for longest, down to the limit."""
        if self._folder is None:
            return
        found = []
        for path in self._folder.glob("*/*"):
            if not _OWN.fullmatch(f"{path.parent.name}/{path.name}"):
                continue  # the folder may have been named by mistake: what others put there is theirs
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._most:
            return
        for _, size, path in sorted(found):
            if total <= self._most * 9 // 10:
                break
            with suppress(OSError):
                path.unlink()
                total -= size

    def forget(self, whose: Iterable[object]) -> int:
        """Remove all previews whose first part is one of these; return how many there were."""
        if self._folder is None:
            return 0
        count = 0
        for each in whose:
            name = _digest([each])
            for path in (self._folder / name[:2]).glob(f"{name[2:]}-*"):
                with suppress(OSError):
                    path.unlink()
                    count += 1
        return count

    @staticmethod
    def _path(folder: Path, parts: Sequence[object]) -> Path:
        name = _digest(parts[:1])
        return folder / name[:2] / f"{name[2:]}-{_digest(parts[1:])}"


def place_of(url: str, key: str) -> str:
    """Return the first part of all previews of the bytes at a key of a store."""
    return f"{url}\0{key}"


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()


def _is_ours(folder: Path) -> bool:
    """Make the folder if need be; False where it can't be made, or is another user's to fill."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            state = folder.stat()
            if state.st_uid != os.getuid():
                return False
            if state.st_mode & 0o077:
                folder.chmod(0o700)
    except OSError:
        return False
    return True
