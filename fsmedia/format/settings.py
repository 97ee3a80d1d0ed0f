"""What `.fsmedia/store.json` says, and what callers may ask of it.

The file is written once, by `create()` or the first write, and is the same for everybody afterwards: who opens the
store with other settings is told so, with both values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from pydantic_core import from_json, to_json

from fsmedia.errors import InvalidMediaError, MediaError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.layout import Layout, layouts
from fsmedia.format.policy import find_policy, is_reserved_name, named_policies
from fsmedia.format.views import View, views
from fsmedia.models import DueIndex, OrganizationMode, RetentionPolicy

FORMAT = 1
"""Version of what lies in a store; a store of a higher one is not opened."""
ORPHAN_GRACE = timedelta(hours=24)
"""Age from which a leftover may be mended, unless the store says otherwise."""
SHORTEST_GRACE = timedelta(minutes=10)
"""Below it, a slow upload would look like a leftover."""
DEFAULT_ORGANIZATION = OrganizationMode.BY_RUN
_SETTINGS = ("organization", "layouts", "views", "policies", "default_policy", "deduplicate", "orphan_grace_seconds")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a caller asks of a store; None leaves it to the store."""

    organization: OrganizationMode | None = None
    layouts: dict[str, Layout] | None = None
    policies: dict[str, RetentionPolicy] | None = None
    default_policy: str | None = None
    deduplicate: bool | None = None
    orphan_grace: timedelta | None = None
    views: dict[str, View] | None = None

    @classmethod
    def read(
        cls,
        organization: str | None,
        templates: Mapping[str, str] | None,
        policies: Mapping[str, RetentionPolicy | timedelta] | Iterable[RetentionPolicy] | None,
        default_policy: str | None,
        deduplicate: bool | None = None,
        orphan_grace: timedelta | None = None,
        *,
        view_templates: Mapping[str, str] | None = None,
    ) -> Settings:
        """Check what a caller passed to a constructor.

        Raises
        ------
        InvalidLayoutError, InvalidMediaError, UnknownPolicyError
            It can't be meant.
        """
        _check_kinds(templates, view_templates, policies, default_policy)
        try:
            mode = None if organization is None else OrganizationMode(organization)
        except ValueError:
            known = ", ".join(OrganizationMode)
            raise InvalidMediaError(f"unknown organization {organization!r}", next_step=f"use {known}") from None
        given = None
        if templates is not None:
            all_layouts = layouts({str(mode): template for mode, template in templates.items()})
            given = {str(mode): all_layouts[mode] for mode in templates}
        shown = None if view_templates is None else views(view_templates, layouts(templates))
        named = None if policies is None else named_policies(policies)
        if default_policy is not None and (named is not None or is_reserved_name(default_policy)):
            find_policy(default_policy, named or {})
        if deduplicate is not None and not isinstance(deduplicate, bool):
            raise InvalidMediaError(f"deduplicate must be True or False, not {deduplicate!r}")
        if orphan_grace is not None and (not isinstance(orphan_grace, timedelta) or orphan_grace < SHORTEST_GRACE):
            raise InvalidMediaError(
                f"orphan_grace must be a timedelta of at least {SHORTEST_GRACE}, not {orphan_grace!r}",
                next_step="no store may take longer than half of it",
            )
        if orphan_grace is not None and orphan_grace % timedelta(seconds=1):
            raise InvalidMediaError(f"orphan_grace must be whole seconds, not {orphan_grace!r}")
        return cls(mode, given, named, default_policy, deduplicate, orphan_grace, shown)


def _check_kinds(templates: object, view_templates: object, policies: object, default_policy: object) -> None:
    """Refuse values of the wrong kind before they are looked into."""
    for name, value, kind, wanted in (
        ("layouts", templates, Mapping, "a mapping of modes to templates"),
        ("views", view_templates, Mapping, "a mapping of names to templates"),
        ("policies", policies, Iterable, "a mapping of names to durations, or RetentionPolicy objects"),
        ("default_policy", default_policy, str, "the name of a policy"),
    ):
        if value is not None and (not isinstance(value, kind) or (kind is Iterable and isinstance(value, str))):
            raise InvalidMediaError(f"{name} must be {wanted}, not {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force."""

    organization: OrganizationMode = DEFAULT_ORGANIZATION
    layouts: dict[str, Layout] = field(default_factory=lambda: layouts(None))
    policies: dict[str, RetentionPolicy] = field(default_factory=dict)
    default_policy: str | None = None
    deduplicate: bool = False
    """True: media that are stored share equal bytes; what is there already stays as it is."""
    orphan_grace: timedelta = ORPHAN_GRACE
    """Age from which leftovers may be mended."""
    adopted: bool = False
    """True: media lay here before the settings did (PromptKit's), so folders alone do not tell whose they are."""
    due_index: DueIndex = "complete"
    """Whether the due index names every media that expires; this and `deduplicate` may change in a store's life."""
    views: dict[str, View] = field(default_factory=dict)
    """What `media://` shows at its top besides the views that every store has."""

    @property
    def layout(self) -> Layout:
        """The layout that writing uses."""
        return self.layouts[self.organization]

    @property
    def ordered_layouts(self) -> dict[str, Layout]:
        """All layouts, the one that writing uses first: a path may be one of several."""
        return {self.organization: self.layout, **self.layouts}

    def folder_of(self, ids: Mapping[str, str | None]) -> str:
        """Return the path below the root in which the media of one id lie.

        Raises
        ------
        InvalidMediaError
            Not exactly one id is given, or not the one that the store is organized by.
        """
        named = {name: value for name, value in ids.items() if value is not None}
        wanted = self.organization.id_field
        if list(named) != [wanted]:
            raise InvalidMediaError(
                f"this store is organized {self.organization}: only media of one {wanted} share a folder",
                next_step=f"give {wanted} alone, or use list(...)",
            )
        return self.layout.folder(named[wanted])

    @classmethod
    def first(cls, settings: Settings, *, organization: OrganizationMode, adopted: bool) -> Configuration:
        """Return the configuration of a store that has none yet."""
        if settings.default_policy is not None:
            find_policy(settings.default_policy, settings.policies or {})
        return cls(
            organization=settings.organization or organization,
            layouts={**layouts(None), **(settings.layouts or {})},
            policies=settings.policies or {},
            default_policy=settings.default_policy,
            deduplicate=bool(settings.deduplicate),
            orphan_grace=settings.orphan_grace or ORPHAN_GRACE,
            adopted=adopted,
            due_index="partial" if adopted else "complete",
            views=settings.views or {},
        )

    @classmethod
    def parse(cls, data: bytes) -> Configuration:
        """Read `store.json`.

        Raises
        ------
        StoreConflictError
            It is of a newer format, or holds settings this version does not know.
        StorageError
            It is damaged.
        """
        try:
            values = from_json(data)
        except ValueError as error:
            raise _damaged(f"is no JSON ({str(error)[:80]})") from None
        if not isinstance(values, dict) or not isinstance(values.get("fsmedia"), int):
            raise _damaged("does not look like a store's settings")
        version = values.pop("fsmedia")
        unknown = sorted(set(values) - {*_SETTINGS, "adopted", "due_index"})
        if version > FORMAT or unknown:
            what = f"format {version}" if version > FORMAT else f"settings unknown here: {', '.join(unknown)[:200]}"
            raise StoreConflictError(
                f"the store was written by a newer fsmedia ({what}; this one knows format {FORMAT})",
                next_step="pip install --upgrade fsmedia",
                key=keys.CONFIGURATION_KEY,
            )
        try:
            settings = Settings.read(
                OrganizationMode(values.get("organization", DEFAULT_ORGANIZATION)),
                values.get("layouts") or {},
                _read_policies(values.get("policies") or {}),
                values.get("default_policy"),
                values.get("deduplicate", False),
                timedelta(seconds=values.get("orphan_grace_seconds", ORPHAN_GRACE.total_seconds())),
                view_templates=values.get("views") or {},
            )
            found = cls.first(settings, organization=DEFAULT_ORGANIZATION, adopted=bool(values.get("adopted")))
            # Anything but "complete" is partial: sweeps then cost more, and miss nothing.
            return replace(found, due_index="complete" if values.get("due_index") == "complete" else "partial")
        except (MediaError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _damaged(f"holds a wrong setting ({str(error)[:200]})") from None

    def dump(self) -> bytes:
        """Write `store.json`; all layouts stand in it, so later defaults change nothing here."""
        values: dict[str, Any] = {
            "fsmedia": FORMAT,
            "organization": str(self.organization),
            "layouts": {mode: layout.template for mode, layout in self.layouts.items()},
            "policies": {name: _policy_json(policy) for name, policy in self.policies.items()},
            "default_policy": self.default_policy,
            "deduplicate": self.deduplicate,
            "orphan_grace_seconds": self.orphan_grace // timedelta(seconds=1),
            "due_index": self.due_index,
        }
        if self.views:
            values["views"] = {name: view.template for name, view in self.views.items()}
        if self.adopted:
            values["adopted"] = True
        return to_json(values, indent=2) + b"\n"

    def check(self, settings: Settings) -> None:
        """Compare with what a caller asks.

        Raises
        ------
        StoreConflictError
            They differ; the text names both.
        """
        pairs: list[tuple[str, object, object]] = [
            ("organization", self.organization, settings.organization),
            ("default_policy", self.default_policy, settings.default_policy),
            ("deduplicate", self.deduplicate, settings.deduplicate),
            ("orphan_grace", self.orphan_grace, settings.orphan_grace),
        ]
        for mode, layout in (settings.layouts or {}).items():
            pairs.append((f"layouts[{mode!r}]", self.layouts[mode].template, layout.template))
        if settings.views is not None:
            pairs.append(("views", _templates(self.views), _templates(settings.views)))
        if settings.policies is not None:
            pairs.append(("policies", _shown(self.policies), _shown(settings.policies)))
        for name, here, wanted in pairs:
            if wanted is not None and wanted != here:
                raise StoreConflictError(
                    f"the store has {name} {_quoted(here)}, it was opened with {_quoted(wanted)}",
                    next_step=f"leave {name} out, or use another root",
                    key=keys.CONFIGURATION_KEY,
                )


def _templates(shown: Mapping[str, View]) -> str:
    """Write views so that they can be compared by eye."""
    return ", ".join(f"{name}: {view.template}" for name, view in sorted(shown.items())) or "none"


def _quoted(value: object) -> str:
    return "none" if value is None else f"{str(value)!r}"


def _damaged(problem: str) -> StorageError:
    return StorageError(
        problem,
        next_step="restore it from a copy, or move it away: the next write makes a new one, and media stay readable",
        key=keys.CONFIGURATION_KEY,
    )


def _policy_json(policy: RetentionPolicy) -> dict[str, int | None]:
    keep_for = policy.keep_for
    return {"keep_for_seconds": None if keep_for is None else keep_for // timedelta(seconds=1)}


def _read_policies(values: dict[str, dict[str, int | None]]) -> list[RetentionPolicy]:
    policies = []
    for name, value in values.items():
        seconds = value["keep_for_seconds"] if "keep_for_seconds" in value else _missing(name)
        policies.append(RetentionPolicy(name=name, keep_for=None if seconds is None else timedelta(seconds=seconds)))
    return policies


def _missing(name: str) -> int:
    raise ValueError(f"policy {name!r} has no keep_for_seconds")


def _shown(policies: Mapping[str, RetentionPolicy]) -> str:
    """Write policies so that they can be compared by eye."""
    parts = []
    for name, policy in sorted(policies.items()):
        kept = policy.keep_for
        parts.append(f"{name}: {'for ever' if kept is None else str(kept).removesuffix(', 0:00:00')}")
    return ", ".join(parts) or "none"
