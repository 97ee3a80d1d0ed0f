"""What `.fsmedia/store.json` says, and what callers may ask of it.

The file is written by `create()` or the first write, and is the same for everybody: who opens the store with other
settings is told so, with both values. Some may be changed afterwards, by `change_settings`, for everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypedDict, cast, get_args

from pydantic_core import from_json, to_json

from fsmedia.errors import InvalidMediaError, MediaError, StorageError, StoreConflictError, UnknownPolicyError
from fsmedia.format import keys
from fsmedia.format.layout import Layout, View, layouts
from fsmedia.format.layout import views as read_views
from fsmedia.format.policy import expires_at, find_policy, is_reserved_name, named_policies
from fsmedia.models import DueIndex, OrganizationMode, Permissions, RetentionPolicy

if TYPE_CHECKING:
    from fsmedia.models import SettingsRecord

FORMAT = 1
"""Version of what lies in a store; a store of a higher one is not opened."""
ORPHAN_GRACE = timedelta(hours=24)
"""Age from which a leftover may be mended, unless the store says otherwise."""
SHORTEST_GRACE = timedelta(minutes=10)
"""Below it, a slow upload would look like a leftover."""
DEFAULT_ORGANIZATION = OrganizationMode.BY_RUN
CHANGEABLE = ("default_policy", "policies", "views", "orphan_grace")
"""What may change in a store's life. The grace only grows: by a shorter one, a repair would take the bytes of writers
that reckon with the longer one."""
# Where a key of `store.json` is not the name of the setting.
_KEYS = {"orphan_grace": "orphan_grace_seconds"}
# Written only where they say something: a store that does not use them is as it was before there were any.
_OPTIONAL = {"views": {}, "adopted": False, "permissions": "private"}
FIXED = {
    "organization": "bring the media to another root: sync_to(new_root, organization=...), fsmedia sync --organization",
    "layouts": "bring the media to another root: sync_to(new_root, layouts=...), fsmedia sync --layout",
    "deduplicate": "use another root; sync_to(new_root, deduplicate=True) brings the media there",
    "permissions": "sync to another root that was made with them: fsmedia init --permissions",
}
"""What never changes, and how to come by another one."""


class SettingsWords(TypedDict, total=False):
    """The settings of a store, the same for everybody who opens it; None leaves one to the store."""

    organization: OrganizationMode | str | None
    layouts: Mapping[str, str] | None
    views: Mapping[str, str] | None
    policies: Mapping[str, RetentionPolicy | timedelta] | Iterable[RetentionPolicy] | None
    default_policy: str | None
    deduplicate: bool | None
    orphan_grace: timedelta | None
    permissions: Permissions | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a caller asks of a store: checked values by name, without what is left to the store."""

    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, words: SettingsWords) -> Settings:
        """Check what a caller passed to a constructor; other words than those of a store are not looked at."""
        values: dict[str, Any] = {
            name: value for name in SettingsWords.__annotations__ if (value := words.get(name)) is not None
        }
        _check_kinds(values)
        if "organization" in values:
            try:
                values["organization"] = OrganizationMode(values["organization"])
            except ValueError:
                problem = f"unknown organization {values['organization']!r}"
                raise InvalidMediaError(problem, next_step=f"use {', '.join(OrganizationMode)}") from None
        templates = values.get("layouts")
        if "views" in values:
            values["views"] = read_views(values["views"], layouts(templates))
        if templates is not None:
            known = layouts({str(mode): template for mode, template in templates.items()})
            values["layouts"] = {str(mode): known[mode] for mode in templates}
        if "policies" in values:
            values["policies"] = named_policies(values["policies"])
        policy = values.get("default_policy")
        if policy is not None and ("policies" in values or is_reserved_name(policy)):
            find_policy(policy, values.get("policies", {}))
        return cls(values)


def _check_kinds(values: Mapping[str, Any]) -> None:
    """Refuse values of the wrong kind before they are looked into."""
    for name, kind, wanted in (
        ("layouts", Mapping, "a mapping of modes to templates"),
        ("views", Mapping, "a mapping of names to templates"),
        ("policies", Iterable, "a mapping of names to durations, or RetentionPolicy objects"),
        ("default_policy", str, "the name of a policy"),
    ):
        value = values.get(name)
        if value is not None and (not isinstance(value, kind) or (kind is Iterable and isinstance(value, str))):
            raise InvalidMediaError(f"{name} must be {wanted}, not {type(value).__name__}")
    deduplicate, grace = values.get("deduplicate", False), values.get("orphan_grace", ORPHAN_GRACE)
    if not isinstance(deduplicate, bool):
        raise InvalidMediaError(f"deduplicate must be True or False, not {deduplicate!r}")
    if not isinstance(grace, timedelta) or grace < SHORTEST_GRACE:
        problem = f"orphan_grace must be a timedelta of at least {SHORTEST_GRACE}, not {grace!r}"
        raise InvalidMediaError(problem, next_step="no store may take longer than half of it")
    if grace % timedelta(seconds=1):
        raise InvalidMediaError(f"orphan_grace must be whole seconds, not {grace!r}")
    if values.get("permissions", "private") not in get_args(Permissions):
        problem = f"unknown permissions {values['permissions']!r}"
        raise InvalidMediaError(problem, next_step=f"use {', '.join(get_args(Permissions))}")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force; each field is a key of `store.json`."""

    organization: OrganizationMode = DEFAULT_ORGANIZATION
    layouts: dict[str, Layout] = field(default_factory=lambda: layouts(None))
    policies: dict[str, RetentionPolicy] = field(default_factory=dict)
    default_policy: str | None = None
    deduplicate: bool = False
    """True: media that are stored share equal bytes; what is there already stays as it is."""
    orphan_grace: timedelta = ORPHAN_GRACE
    """Age from which leftovers may be mended."""
    due_index: DueIndex = "complete"
    """Whether the due index names every media that expires; it may change in a store's life."""
    views: dict[str, View] = field(default_factory=dict)
    """What `media://` shows at its top besides the views that every store has."""
    adopted: bool = False
    """True: media lay here before the settings did (PromptKit's), so folders alone do not tell whose they are."""
    permissions: Permissions = "private"
    """Modes of files and folders on local disk: 0600 and 0750, or 0666 and 0777 less the umask."""

    @property
    def layout(self) -> Layout:
        """The layout that writing uses."""
        return self.layouts[self.organization]

    @property
    def ordered_layouts(self) -> dict[str, Layout]:
        """All layouts, the one that writing uses first: a path may be one of several."""
        return {self.organization: self.layout, **self.layouts}

    def expires_at(self, policy_name: str | None, timestamp: datetime) -> datetime | None:
        """Return when a media item of that time expires by a policy, or where it names none by the store's default."""
        name = policy_name or self.default_policy
        return expires_at(find_policy(name, self.policies) if name else None, timestamp)

    def folder_of(self, ids: Mapping[str, str | None]) -> str:
        """Return the path below the root of the media of one id, the one that the store is organized by; or say so."""
        named = {name: value for name, value in ids.items() if value is not None}
        wanted = self.organization.id_field
        if list(named) != [wanted]:
            problem = f"this store is organized {self.organization}: only media of one {wanted} share a folder"
            raise InvalidMediaError(problem, next_step=f"give {wanted} alone, or use list(...)")
        return self.layout.folder(named[wanted])

    @classmethod
    def first(cls, settings: Settings, *, organization: OrganizationMode, adopted: bool) -> Configuration:
        """Return the configuration of a store that has none yet."""
        asked = settings.values
        known = {**layouts(None), **asked.get("layouts", {})}
        found = cls(**{"organization": organization, **asked, "layouts": known})
        if found.default_policy is not None:
            find_policy(found.default_policy, found.policies)
        return replace(found, adopted=adopted, due_index="partial" if adopted else "complete")

    @classmethod
    def parse(cls, data: bytes) -> Configuration:
        """Read `store.json`; `StoreConflictError` if it is of a newer version, `StorageError` if it is damaged."""
        try:
            values: Any = from_json(data)
        except ValueError as error:
            raise _damaged(f"is no JSON ({str(error)[:80]})") from None
        if not isinstance(values, dict) or not isinstance(values.get("fsmedia"), int):
            raise _damaged("does not look like a store's settings")
        version = values.pop("fsmedia")
        unknown = sorted(set(values) - {_KEYS.get(each.name, each.name) for each in fields(cls)})
        if version > FORMAT or unknown:
            what = f"format {version}" if version > FORMAT else f"settings unknown here: {', '.join(unknown)[:200]}"
            problem = f"the store was written by a newer fsmedia ({what}; this one knows format {FORMAT})"
            raise StoreConflictError(problem, next_step="pip install --upgrade fsmedia", key=keys.CONFIGURATION_KEY)
        try:
            values["organization"] = OrganizationMode(values.get("organization", DEFAULT_ORGANIZATION))
            values["layouts"], values["views"] = values.get("layouts") or {}, values.get("views") or {}
            values["policies"] = _read_policies(values.get("policies") or {})
            if "orphan_grace_seconds" in values:
                values["orphan_grace"] = timedelta(seconds=values["orphan_grace_seconds"])
            adopted = bool(values.get("adopted"))
            found = cls.first(
                Settings.read(cast("SettingsWords", values)), organization=DEFAULT_ORGANIZATION, adopted=adopted
            )
            # Anything but "complete" is partial: sweeps then cost more, and miss nothing.
            return replace(found, due_index="complete" if values.get("due_index") == "complete" else "partial")
        except (MediaError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _damaged(f"holds a wrong setting ({str(error)[:200]})") from None

    def dump(self) -> bytes:
        """Write `store.json`; all layouts stand in it, so later defaults change nothing here."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        document = {
            _KEYS.get(name, name): _json(value)
            for name, value in values.items()
            if name not in _OPTIONAL or value != _OPTIONAL[name]
        }
        return to_json({"fsmedia": FORMAT, **document}, indent=2) + b"\n"

    def record(self) -> SettingsRecord:
        """Return the settings as callers get them."""
        from fsmedia.models.reports import SettingsRecord

        templates = {
            name: {str(each): made.template for each, made in getattr(self, name).items()}
            for name in ("layouts", "views")
        }
        return SettingsRecord(**{**{each.name: getattr(self, each.name) for each in fields(self)}, **templates})

    def changed(
        self,
        *,
        default_policy: str | EllipsisType | None = ...,
        policies: Mapping[str, RetentionPolicy | timedelta | None] = {},
        views: Mapping[str, str | None] = {},
        orphan_grace: timedelta | EllipsisType = ...,
    ) -> Configuration:
        """Return the settings after a change; or say why it can't be made. See `MediaStore.change_settings`."""
        for name, given in (("policies", policies), ("views", views)):
            if not isinstance(given, Mapping):
                problem = f"{name} must be a mapping of names, not {type(given).__name__}"
                raise InvalidMediaError(problem, next_step="None in the place of a value removes a name")
        default = self.default_policy if default_policy is ... else default_policy
        grace = self.orphan_grace if orphan_grace is ... else orphan_grace
        _check_kinds({"default_policy": default, "orphan_grace": grace})
        if grace < self.orphan_grace:
            raise InvalidMediaError(
                f"orphan_grace can't be lowered from {_text(self.orphan_grace)} to {_text(grace)}: by the shorter "
                "one, a repair would take the bytes of writers that reckon with the longer one",
                next_step="for one repair while every writer is stopped: verify(grace=..., nobody_writes=True)",
            )
        named = _merged(self.policies, policies, named_policies)
        if default is not None:
            try:
                find_policy(default, named)
            except UnknownPolicyError:
                if default not in self.policies:
                    raise
                raise InvalidMediaError(
                    f"policy {default!r} is the store's default policy, so it can't be removed",
                    next_step="give another default_policy, or None, in the same call",
                ) from None
        shown = _merged(self.views, views, lambda given: read_views(given, self.layouts))
        return replace(self, default_policy=default, policies=named, views=shown, orphan_grace=grace)

    def check(self, settings: Settings, *, fixed_only: bool = False) -> None:
        """Compare with what a caller asks; `StoreConflictError` names both values where they differ.

        `fixed_only`: leave out what may have changed since the store was opened.
        """
        pairs = {name: (getattr(self, name), wanted) for name, wanted in settings.values.items() if name != "layouts"}
        for mode, layout in settings.values.get("layouts", {}).items():
            pairs[f"layouts[{mode!r}]"] = (self.layouts[mode], layout)
        for name, pair in pairs.items():
            here, wanted = map(_shown, pair)
            if wanted != here and not (fixed_only and name in CHANGEABLE):
                change = f"change it for everybody: change_settings({name}=...), fsmedia config set"
                raise StoreConflictError(
                    f"the store has {name} {here}, it was opened with {wanted}",
                    next_step=f"leave {name} out, or {FIXED.get(name.partition('[')[0], change)}",
                    key=keys.CONFIGURATION_KEY,
                )


def _merged(here: Mapping[str, Any], given: Mapping[str, Any], read: Callable[[Any], Mapping[str, Any]]) -> Any:
    """Return what is here with what is given; None removes a name."""
    values = {**here, **read({name: value for name, value in given.items() if value is not None})}
    return {name: value for name, value in values.items() if given.get(name, value) is not None}


def _damaged(problem: str) -> StorageError:
    return StorageError(
        problem,
        next_step="restore it from a copy, or move it away: the next write makes a new one, and media stay readable",
        key=keys.CONFIGURATION_KEY,
    )


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(each) for name, each in value.items()}
    if isinstance(value, RetentionPolicy):
        return {"keep_for_seconds": _json(value.keep_for)}
    if isinstance(value, timedelta):
        return value // timedelta(seconds=1)
    return value.template if isinstance(value, Layout | View) else value


def _read_policies(values: dict[str, dict[str, int | None]]) -> list[RetentionPolicy]:
    policies = []
    for name, value in values.items():
        if "keep_for_seconds" not in value:
            raise ValueError(f"policy {name!r} has no keep_for_seconds")
        seconds = value["keep_for_seconds"]
        policies.append(RetentionPolicy(name=name, keep_for=None if seconds is None else timedelta(seconds=seconds)))
    return policies


def _shown(value: Any) -> str:
    """Return a setting as errors show it, so that two can be compared by eye."""
    return "none" if value is None else f"{_text(value)!r}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in sorted(value.items())) or "none"
    if isinstance(value, RetentionPolicy):
        return "for ever" if value.keep_for is None else _text(value.keep_for)
    if isinstance(value, timedelta):
        return str(value).removesuffix(", 0:00:00")
    return value.template if isinstance(value, Layout | View) else str(value)
