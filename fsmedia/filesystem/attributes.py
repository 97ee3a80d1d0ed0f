"""What the filesystem tells of a media besides its bytes: fields of `info()`, and named attributes (xattrs).

`user.*` attributes are the caller's and lie in the sidecar; `fsmedia.*` show the store's own fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from fsmedia.core import commit, keeping, records
from fsmedia.errors import InvalidMediaError, ReadOnlyStoreError
from fsmedia.filesystem.grounds import Grounds
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import mime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsmedia.models import MediaRecord
    from fsmedia.storage import Entry

USER = "user."
OWN = "fsmedia."
_HIDDEN_FIELDS = frozenset({"reference", "size_bytes", "xattrs"})
_POLICY = "fsmedia.policy_name"
_OCTETS = "application/octet-stream"


def folder_info(key: str) -> dict[str, Any]:
    """Describe a folder."""
    return {"name": key, "size": 0, "type": "directory"}


def file_info(entry: Entry) -> dict[str, Any]:
    """Describe a file by what a listing tells; the MIME type is what the name says."""
    key, modified = entry.key, entry.modified
    return {
        "name": key,
        "size": entry.size,
        "type": "file",
        "mtime": modified,
        "created": modified,
        "ETag": entry.token,
        "mime_type": mime.guess_from_name(key) or _OCTETS,
    }


def record_fields(record: MediaRecord) -> dict[str, Any]:
    """Return the fields of `info()` that a sidecar tells; what is not known is not there."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _HIDDEN_FIELDS and value is not None and value != ""
    }


class Attributes(Grounds):
    """Methods of `MediaFileSystem` about metadata."""

    def _full_info(self, found: records.Found) -> dict[str, Any]:
        record = records.record_of(found, self._configuration())
        return {**file_info(found.entry), **record_fields(record)}

    def metadata(self, path: str) -> dict[str, Any]:
        """Return all that the store knows of a media, as `info(path, metadata=True)` does, without the file's facts."""
        key = self._existing_key(path)
        with commit.about(key):
            found = records.find(self._backend, key, with_hold=True)
            return record_fields(records.record_of(found, self._configuration()))

    def listxattr(self, path: str) -> list[str]:
        """Return the names of a media's attributes."""
        return list(self._attributes(path))

    def getxattr(self, path: str, attr: str) -> Any:
        """Return one attribute.

        Raises
        ------
        KeyError
            The media has none of that name.
        """
        return self._attributes(path)[attr]

    def setxattrs(self, path: str, attributes: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set attributes of a media; None removes one. Names begin with `user.`, values are what JSON can hold.

        Raises
        ------
        ReadOnlyStoreError
            A name begins with `fsmedia.`: those are the store's own, but for `fsmedia.policy_name`.
        HeldMediaError, UnknownPolicyError
            As `MediaStore.apply_policy` says; nothing was changed.
        InvalidMediaError
            A name is of another form, or a value is none that JSON can hold.
        """
        changes = {**(attributes or {}), **more}
        policy = changes.pop(_POLICY, self)
        for name, value in changes.items():
            if not isinstance(name, str):
                raise InvalidMediaError(f"{name!r} is no attribute's name", next_step="use user.<name>")
            if name.startswith(OWN):
                raise ReadOnlyStoreError(f"{name} is the store's own field", next_step="set user.* attributes")
            if not name.startswith(USER) or name == USER:
                raise InvalidMediaError(f"{name!r} is no attribute's name", next_step="use user.<name>")
            try:
                to_jsonable_python(value, inf_nan_mode="constants")
            except ValueError:
                raise InvalidMediaError(
                    f"the value of {name} can't be stored ({type(value).__name__})", next_step="use text or numbers"
                ) from None
        desk = self._desk()
        key = self._existing_key(path)
        if policy is not self:
            keeping.apply_policy(desk, key, policy)
        if not changes:
            return
        with commit.about(key):
            found = records.find(self._backend, key)
            if found.sidecar is None:
                raise InvalidMediaError(
                    "has no sidecar to keep attributes in: another program wrote it",
                    next_step="write it through media:// first, or copy it",
                )
            sidecar = Sidecar.parse(found.sidecar, key)
            kept = {**(sidecar.values.get("xattrs") or {}), **changes}
            values = {**sidecar.values, "xattrs": {name: value for name, value in kept.items() if value is not None}}
            instant = records.expiry_of(sidecar, key, desk.configuration, found.entry.modified)
            try:
                text = Sidecar(values).dump()
                Sidecar.parse(text, key)  # what could not be read again would make the media unreadable for ever
            except ValueError as error:
                problem = f"with these attributes its sidecar could not be read again ({str(error)[:120]})"
                raise InvalidMediaError(problem, next_step="store large or deep values as media of their own") from None
            commit.rewrite_sidecar(desk.backend, key, text, instant, sidecar.marker(key))

    def removexattr(self, path: str, attr: str) -> None:
        """Remove one attribute; one that is not there is gone already."""
        self.setxattrs(path, {attr: None})

    def _attributes(self, path: str) -> dict[str, Any]:
        key = self._existing_key(path)
        with commit.about(key):
            record = records.record_of(records.find(self._backend, key), self._configuration())
        own = {f"{OWN}{name}": value for name, value in record_fields(record).items()}
        own["fsmedia.size_bytes"] = record.size_bytes
        return {**record.xattrs, **own}
