"""Settings of a store: what `store.json` holds, what a caller may ask, and how a difference is told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import (
    InvalidLayoutError,
    InvalidMediaError,
    MediaError,
    StorageError,
    StoreConflictError,
    UnknownPolicyError,
)
from fsmedia.format.keys import CONFIGURATION_KEY
from fsmedia.format.layout import DEFAULT_TEMPLATES
from fsmedia.format.settings import FORMAT, Configuration, Settings
from fsmedia.models import OrganizationMode, RetentionPolicy
from fsmedia.storage.address import URL_VARIABLE, url_from_environment

DAY = timedelta(days=1)
TEMPLATE = "by/{run_id}/{timestamp:%Y-%m}/{name}{ext}"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(("retain", "delete-after"))
)


def asked(
    organization: str | None = None, templates: Any = None, policies: Any = None, default_policy: str | None = None
) -> Settings:
    """What a caller passed."""
    return Settings.read(
        {
            "organization": organization,
            "layouts": templates,
            "policies": policies,
            "default_policy": default_policy,
        }
    )


def made(settings: Settings | None = None, *, adopted: bool = False) -> Configuration:
    """The settings of a store that is new."""
    return Configuration.first(settings or asked(), organization=OrganizationMode.BY_RUN, adopted=adopted)


def document(**changes: Any) -> bytes:
    """The default `store.json`, changed."""
    return json.dumps({**json.loads(made().dump()), **changes}).encode()


# -- store.json --------------------------------------------------------------------------------------------------


def test_what_lies_in_a_new_store() -> None:
    assert made().dump().decode() == (
        "{\n"
        '  "fsmedia": 1,\n'
        '  "organization": "by-run",\n'
        '  "layouts": {\n'
        '    "by-session": "sessions/{session_id}/{name}{ext}",\n'
        '    "by-conversation": "conversations/{conversation_id}/{name}{ext}",\n'
        '    "by-run": "runs/{run_id}/{name}{ext}"\n'
        "  },\n"
        '  "policies": {},\n'
        '  "default_policy": null,\n'
        '  "deduplicate": false,\n'
        '  "orphan_grace_seconds": 86400,\n'
        '  "due_index": "complete"\n'
        "}\n"
    )


def test_what_lies_in_a_store_with_everything() -> None:
    settings = asked(
        "by-session",
        {"by-run": TEMPLATE},
        [RetentionPolicy(name="audit", keep_for=365 * DAY), RetentionPolicy(name="legal")],
        "audit",
    )
    values = json.loads(made(settings, adopted=True).dump())
    assert values == {
        "fsmedia": FORMAT,
        "organization": "by-session",
        "layouts": {**DEFAULT_TEMPLATES, "by-run": TEMPLATE},
        "policies": {"audit": {"keep_for_seconds": 31536000}, "legal": {"keep_for_seconds": None}},
        "default_policy": "audit",
        "deduplicate": False,
        "orphan_grace_seconds": 86400,
        "adopted": True,
        "due_index": "partial",
    }


@given(
    st.sampled_from([None, *OrganizationMode]),
    st.sampled_from([None, {}, {"by-run": TEMPLATE}, {OrganizationMode.BY_RUN: TEMPLATE}]),
    st.none() | st.dictionaries(NAMES, st.integers(1, 10**12).map(lambda n: timedelta(seconds=n)), max_size=3),
    st.booleans(),
)
def test_settings_come_back_from_store_json(organization: Any, templates: Any, policies: Any, adopted: bool) -> None:
    default = next(iter(policies), "retain-30days") if policies is not None else None
    settings = asked(organization, templates, policies, default)
    configuration = made(settings, adopted=adopted)
    again = Configuration.parse(configuration.dump())
    assert again == configuration
    assert again.dump() == configuration.dump()
    assert again.layout.template == configuration.layouts[configuration.organization].template
    again.check(settings)
    again.check(asked())


def test_a_store_that_says_little_is_read_with_the_defaults() -> None:
    assert Configuration.parse(b'{"fsmedia": 1}') == Configuration(due_index="partial"), "nobody promised an index"
    assert Configuration().organization == OrganizationMode.BY_RUN


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\0" * 64, b"[]", b"null", b"{}", b'{"fsmedia": "1"}', b'{"organization": "by-run"}', b"[" * 10**5],
    ids=lambda data: repr(data)[:20],
)
def test_what_is_no_store_json_is_damaged(data: bytes) -> None:
    with pytest.raises(StorageError, match="restore it from a copy") as info:
        Configuration.parse(data)
    assert info.value.key == CONFIGURATION_KEY
    assert str(info.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"organization": "by-user"}, {"organization": 5}, {"organization": None},
        {"layouts": {"by-run": "{run_id.__class__}/{name}{ext}"}}, {"layouts": {"by-user": "x/{name}{ext}"}},
        {"layouts": {"by-run": 5}}, {"policies": {"audit": 5}}, {"policies": {"audit": {}}},
        {"policies": {"audit": {"keep_for_seconds": 0}}}, {"policies": {"audit": {"keep_for_seconds": -1}}},
        {"policies": {"audit": {"keep_for_seconds": 10**30}}}, {"policies": {"audit": {"keep_for_seconds": "1"}}},
        {"policies": {"retain-1days": {"keep_for_seconds": 1}}}, {"default_policy": "audit"},
        {"default_policy": "retain-0days"}, {"default_policy": 5}, {"default_policy": ["retain"]},
        {"views": {"by-day": "{run_id.__class__}/{name}{ext}"}}, {"views": {"by-run": "{name}{ext}"}},
        {"views": {"runs": "{name}{ext}"}}, {"views": {"by-day": 5}}, {"views": ["by-day"]},
        {"views": {"a": "{name}{ext}"}, "layouts": {"by-run": "{run_id}/{name}{ext}"}},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_are_damage_not_defaults(changes: dict[str, Any]) -> None:
    """A setting that is ignored could cost data."""
    with pytest.raises(StorageError, match="wrong setting") as info:
        Configuration.parse(document(**changes))
    assert info.value.key == CONFIGURATION_KEY


@pytest.mark.parametrize("changes", [{"fsmedia": FORMAT + 1}, {"dedup": True}, {"fsmedia": 9, "policies": 5}], ids=str)
def test_a_store_of_a_newer_version_is_not_opened(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreConflictError, match="newer fsmedia") as info:
        Configuration.parse(document(**changes))
    assert "upgrade" in info.value.next_step
    assert f"this one knows format {FORMAT}" in str(info.value)


# -- what a caller asks ------------------------------------------------------------------------------------------


def test_nothing_asked_is_nothing_set() -> None:
    assert asked() == Settings()
    assert asked("by-run").values["organization"] is OrganizationMode.BY_RUN
    assert asked(OrganizationMode.BY_SESSION).values["organization"] is OrganizationMode.BY_SESSION


def test_only_the_templates_that_were_given_are_asked() -> None:
    settings = asked(templates={OrganizationMode.BY_RUN: TEMPLATE})
    assert {mode: layout.template for mode, layout in settings.values["layouts"].items()} == {"by-run": TEMPLATE}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"organization": "by-user"}, InvalidMediaError), ({"organization": 5}, InvalidMediaError),
        ({"templates": {"by-user": TEMPLATE}}, InvalidLayoutError),
        ({"templates": {"by-run": "../{run_id}/{name}{ext}"}}, InvalidLayoutError),
        ({"policies": {"audit": timedelta(0)}}, InvalidMediaError),
        ({"default_policy": "retain-0days", "policies": {}}, UnknownPolicyError),
        ({"default_policy": 5}, InvalidMediaError), ({"templates": TEMPLATE}, InvalidMediaError),
        ({"policies": "audit"}, InvalidMediaError), ({"policies": 5}, InvalidMediaError),
        ({"default_policy": "audit", "policies": {}}, UnknownPolicyError),
        ({"default_policy": "audit", "policies": {"other": DAY}}, UnknownPolicyError),
    ],
    ids=str,
)  # fmt: skip
def test_what_can_not_be_meant_is_refused(arguments: dict[str, Any], error: type[MediaError]) -> None:
    with pytest.raises(error) as info:
        asked(**arguments)
    assert str(info.value).isprintable()


@pytest.mark.parametrize("name", ["audit", "retain-0days", "delete-after-x", ""])
def test_a_default_policy_is_judged_at_the_latest_when_the_store_is_made(name: str) -> None:
    with pytest.raises(UnknownPolicyError):
        made(asked(default_policy=name))


def test_a_default_policy_may_be_of_the_stores_own() -> None:
    made(asked(policies={"audit": DAY}, default_policy="audit")).check(asked(default_policy="audit"))


def test_a_stores_own_name_may_begin_like_promptkits() -> None:
    """Whoever opens the store again with its own default policy must not be told that it is unknown."""
    try:
        store = made(asked(policies={"retain-legal": DAY}, default_policy="retain-legal"))
    except MediaError:
        return  # refusing such names from the start is as good
    store.check(asked(default_policy="retain-legal"))


# -- differences -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "here", "wanted"),
    [
        ({"organization": "by-session"}, "by-run", "by-session"),
        ({"default_policy": "retain-1days"}, "retain-30days", "retain-1days"),
        ({"templates": {"by-run": TEMPLATE}}, DEFAULT_TEMPLATES["by-run"], TEMPLATE),
        ({"policies": {"audit": 2 * DAY}}, "1 day", "2 days"),
        ({"policies": {}}, "audit: 1 day", "none"),
    ],
    ids=str,
)
def test_a_difference_names_both_values(arguments: dict[str, Any], here: str, wanted: str) -> None:
    store = made(asked(policies={"audit": DAY}, default_policy="retain-30days"))
    with pytest.raises(StoreConflictError) as info:
        store.check(asked(**arguments))
    assert here in str(info.value)
    assert wanted in str(info.value)
    assert "leave" in info.value.next_step
    assert info.value.key == CONFIGURATION_KEY


def test_a_store_without_a_default_policy_differs_from_one_with() -> None:
    with pytest.raises(StoreConflictError, match="has default_policy none"):
        made().check(asked(default_policy="retain"))


def test_the_same_settings_are_no_difference() -> None:
    settings = asked("by-run", {"by-run": TEMPLATE}, {"audit": DAY}, "audit")
    made(settings).check(settings)
    made(settings).check(asked(templates={"by-session": DEFAULT_TEMPLATES["by-session"]}))
    made(settings).check(asked(policies=[RetentionPolicy(name="audit", keep_for=DAY)]))


# -- environment -------------------------------------------------------------------------------------------------


def test_the_environment_may_name_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, " s3://bucket/media ")
    assert url_from_environment() == "s3://bucket/media"
    for value in ("", "  "):
        monkeypatch.setenv(URL_VARIABLE, value)
        with pytest.raises(InvalidMediaError, match=URL_VARIABLE):
            url_from_environment()
    monkeypatch.delenv(URL_VARIABLE)
    with pytest.raises(InvalidMediaError, match="pass a URL"):
        url_from_environment()


def test_a_grace_that_the_file_can_not_hold_is_refused_before_there_is_one() -> None:
    """The first write would make a store that its own settings do not fit, also the next time."""
    with pytest.raises(InvalidMediaError, match="whole seconds"):
        Settings.read({"orphan_grace": timedelta(seconds=700.5)})
