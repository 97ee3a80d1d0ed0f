"""ADK's artifacts: a version is the media `adk/<app>/<user>/sessions/<session>/<name>/<n>` or `.../user/<name>/<n>`."""

from typing import Any

from google.adk.artifacts import BaseArtifactService, artifact_util
from google.adk.artifacts.base_artifact_service import ArtifactVersion, ensure_part
from google.adk.errors.input_validation_error import InputValidationError
from google.genai.types import Blob, Part

from fsmedia.exchange import frameworks
from fsmedia.exchange.frameworks import folder_name, in_thread
from fsmedia.models import MediaMetadata, MediaRecord

_USER, _OWN = "user:", "adk."
_LONGEST = {"app_name": 60, "user_id": 100, "session_id": 100, "filename": 200}  # bytes in a path, which has 1,024


class FsmediaArtifactService(BaseArtifactService):
    """Artifacts in a store, which `uri` and `settings` name as `frameworks.opened` says; see `BaseArtifactService`.

    Without a session an artifact is the user's, as with `user:` in front of its name. A version that its retention
    policy has let go is none any more: `load_artifact` returns None. A store by session has each in its folder.
    """

    def __init__(self, uri: Any = None, *, agents_dir: str = "", **settings: Any) -> None:
        del agents_dir  # ADK's registry gives it to all
        self.store = frameworks.opened(uri, **settings)

    def _scope(self, app_name: str, user_id: str, session_id: str | None) -> str:
        ids = {"app_name": app_name, "user_id": user_id} | ({} if session_id is None else {"session_id": session_id})
        for name, value in ids.items():
            artifact_util.validate_path_segment(value, name)
        app, user, *session = (folder_name(value, limit=_LONGEST[name]) for name, value in ids.items())
        above = frameworks.above_session(self.store, session_id) if session_id is not None else ""
        return f"{above}adk/{app}/{user}/{'/'.join(['sessions', *session]) if session else 'user'}"

    def _folder(self, app_name: str, user_id: str, filename: str, session_id: str | None = None) -> str:
        session = None if filename.startswith(_USER) else session_id
        name = filename.removeprefix(_USER) if session is None else filename
        return f"{self._scope(app_name, user_id, session)}/{folder_name(name, limit=_LONGEST['filename'])}"

    def _save(self, artifact: Any, custom_metadata: dict[str, Any] | None = None, **where: Any) -> int:
        part, data, kind = ensure_part(artifact).model_copy(deep=True), b"", None
        if (blob := part.inline_data) is not None and blob.data is not None:
            data, blob.data, kind = blob.data, None, blob.mime_type
        elif part.text is not None:
            data, part.text, kind = part.text.encode(errors="surrogatepass"), "", "text/plain"
        elif part.file_data is None:
            raise InputValidationError("Artifact must have inline_data with data, text or file_data.")
        elif artifact_util.is_artifact_ref(part):
            _target(part, 1, **where)
        name, is_users = where["filename"].removeprefix(_USER), where["filename"].startswith(_USER)
        own = {"app": where["app_name"], "user": where["user_id"], "part": part.model_dump_json(exclude_none=True)}
        attributes = frameworks.as_attributes(custom_metadata or {}, _OWN, name=name, **own)
        session = "" if is_users else where.get("session_id") or ""
        content = frameworks.content_of(data, kind, name)
        metadata = MediaMetadata(session_id=session, attributes=attributes)
        return frameworks.create_version(self.store, content, metadata, self._folder(**where))

    def _load(self, version: int | None = None, hops: int = 5, **where: Any) -> Part | None:
        for number in reversed(self._numbers(**where)) if version is None else [version]:
            if found := frameworks.stored(self.store, f"{self._folder(**where)}/{number}"):
                if artifact_util.is_artifact_ref(part := _part(*found)):
                    return self._load(hops=hops - 1, **_target(part, hops, **where)._asdict())
                # What a rewound session leaves in the place of an artifact that was not there yet.
                return None if part == Part(inline_data=Blob(mime_type=frameworks.UNKNOWN, data=b"")) else part
        return None

    def _names(self, app_name: str, user_id: str, session_id: str | None = None) -> list[str]:
        found = list[str]()
        for session, prefix in [(None, _USER)] if session_id is None else [(None, _USER), (session_id, "")]:
            scope, limit = self._scope(app_name, user_id, session), _LONGEST["filename"]
            names = frameworks.names_below(self.store, scope, limit, attribute="adk.name")
            found += [f"{prefix}{name}" for name in names]
        return sorted(found)

    def _versions(self, **where: Any) -> dict[int, Any]:
        return frameworks.versions(self.store, self._folder(**where))

    def _numbers(self, **where: Any) -> list[int]:
        return list(self._versions(**where))

    def _delete(self, **where: Any) -> None:
        self.store.delete_many(frameworks.whole_below(self.store, self._folder(**where), bare=True))

    def _described(self, **where: Any) -> list[ArtifactVersion]:
        return [*map(self._told, frameworks.records_of(self.store, self._versions(**where).values()))]

    def _version(self, version: int | None = None, **where: Any) -> ArtifactVersion | None:
        wanted = reversed([item for number, item in self._versions(**where).items() if version in (None, number)])
        return next((self._told(each) for item in wanted for each in frameworks.records_of(self.store, [item])), None)

    def _told(self, record: MediaRecord) -> ArtifactVersion:
        part, number, url = _part(record), record.reference.rpartition("/")[2], self.store.media_url(record.reference)
        shown = part.inline_data or (None if artifact_util.is_artifact_ref(part) else part.file_data)
        kind = shown.mime_type if shown else "text/plain" if part.text is not None else None
        made = {"create_time": record.timestamp.timestamp() if record.timestamp else 0.0, "mime_type": kind}
        custom = frameworks.from_attributes(record, _OWN)
        return ArtifactVersion(version=number, canonical_uri=url, custom_metadata=custom, **made)

    save_artifact, load_artifact, delete_artifact = in_thread(_save), in_thread(_load), in_thread(_delete)
    list_artifact_keys, list_versions = in_thread(_names), in_thread(_numbers)
    list_artifact_versions, get_artifact_version = in_thread(_described), in_thread(_version)


def _part(record: MediaRecord, data: bytes = b"") -> Part:
    try:
        part = Part.model_validate_json(str(record.attributes["adk.part"]))
    except (KeyError, ValueError):  # another program's
        part = Part(inline_data=Blob(mime_type=record.mime_type))
    if part.inline_data is not None:
        part.inline_data.data = data
    elif part.text is not None:
        part.text = data.decode(errors="surrogatepass")
    return part


def _target(part: Part, hops: int, **where: Any) -> Any:
    ids = {name: where.get(name) for name in ("app_name", "user_id", "session_id")}
    return artifact_util.resolve_artifact_reference(file_uri=part.file_data.file_uri, remaining_depth=hops, **ids)
