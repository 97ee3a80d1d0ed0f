"""Sidecars, settings, policies: what lies in a store as text comes back, damage is named, the unknown is kept."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia import errors, models
from fsmedia.format import sidecar as sidecars
from fsmedia.format.keys import CONFIGURATION_KEY, MAX_SIDECAR_BYTES
from fsmedia.format.layout import DEFAULT_TEMPLATES
from fsmedia.format.policy import KEEP_FOREVER, expires_at, find_policy, named_policies
from fsmedia.format.settings import FORMAT, Configuration, Settings
from fsmedia.format.sidecar import Sidecar, timestamp_text
from fsmedia.maintenance.sync import overlap
from fsmedia.models import ContentFields, MediaMetadata, MediaRecord, OrganizationMode, RetentionPolicy
from fsmedia.storage import open_backend
from fsmedia.storage.address import URL_VARIABLE, url_from_environment
from tests.contract.specimens import raised
from tests.unit.templates import TEXTS, metadata

REFERENCE = "runs/r1/0003_01_u01m8343t30ehsv9fkm039etnz4.png"
NOON = datetime(2026, 3, 4, 12, 30, 5, 890123, tzinfo=UTC)
DIGEST = "ab" * 32

# What PromptKit wrote (store by-run, label png-full), in fewer lines, but for the key that no version of it knows.
PROMPTKIT = b"""{
  "run_id": "run-2026-03-04", "conversation_id": "conv-1", "session_id": "sess-1", "message_idx": 3, "part_idx": 1,
  "mime_type": "image/png", "size_bytes": 0, "provider_id": "openai\\u003cx\\u003e",
  "timestamp": "2026-03-04T05:06:07.890123456+02:00", "policy_name": "retain-30days",
  "later": {"b": [1, 2.50, null], "a": "\\u00e9", "n": 12345678901234567890123}
}"""

INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))
METADATA = metadata(INSTANTS)
CONTENT = st.builds(
    ContentFields,
    **dict.fromkeys(("format", "detail", "caption"), st.none() | TEXTS),
    **dict.fromkeys(("bit_rate", "channels", "width", "height"), st.none() | st.integers(0, 2**40)),
    duration=st.none() | st.integers(0, 10**6) | st.floats(0, 1e9),
    fps=st.none() | st.floats(0, 1e4),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def built(metadata: MediaMetadata, content: ContentFields, **facts: Any) -> Sidecar:
    return Sidecar.build(dict(metadata), dict(content), sha256=DIGEST, **facts)


def full() -> Sidecar:
    """A sidecar with every key."""
    metadata = MediaMetadata(
        run_id="r1", conversation_id="c1", session_id="s1", message_idx=3, part_idx=1, mime_type="image/png",
        size_bytes=7, provider_id="openai", timestamp=NOON, policy_name="retain-30days",
    )  # fmt: skip
    content = ContentFields(caption="é", width=3, duration=1.5)
    return built(metadata, content, expires_at=NOON + timedelta(days=30), detected_mime_type="image/gif")


def parsed(data: bytes) -> Sidecar:
    return Sidecar.parse(data, REFERENCE)


def refused(data: bytes) -> str:
    """The text with which bytes are refused, by the parser or by the models."""
    caught = raised(errors.CorruptSidecarError, lambda: parsed(data).record(REFERENCE, 7))
    assert caught.reference == REFERENCE
    assert caught.next_step
    assert str(caught).isprintable()
    return str(caught)


def test_what_is_written_is_promptkits_json_and_ours_after_it() -> None:
    wanted = {
        "run_id": "r1", "conversation_id": "c1", "session_id": "s1", "message_idx": 3, "part_idx": 1,
        "mime_type": "image/png", "size_bytes": 7, "provider_id": "openai", "timestamp": "2026-03-04T12:30:05.890123Z",
        "policy_name": "retain-30days", "sha256": DIGEST, "expires_at": "2026-04-03T12:30:05.890123Z",
        "detected_mime_type": "image/gif", "content": {"caption": "é", "duration": 1.5, "width": 3}, "fsmedia": 1,
    }  # fmt: skip
    assert full().dump().decode() == json.dumps(wanted, indent=2, ensure_ascii=False)
    metadata = MediaMetadata(timestamp=NOON.replace(microsecond=0))
    values = json.loads(built(metadata, ContentFields(), expires_at=None).dump())
    assert values == {
        "run_id": "", "message_idx": 0, "part_idx": 0, "mime_type": "", "size_bytes": 0,
        "timestamp": "2026-03-04T12:30:05Z", "sha256": DIGEST, "fsmedia": sidecars.FORMAT,
    }  # fmt: skip
    content = ContentFields(
        **{name: "x" if name in {"format", "detail", "caption", "file_name"} else 2 for name in models.CONTENT_FIELDS}
    )
    values = built(MediaMetadata(timestamp=NOON), content, expires_at=None).values
    assert tuple(values["content"]) == models.CONTENT_FIELDS


ODD = st.sampled_from([
    None, "", "x", "x" * 4097, "\ud800", 0, -1, 7, 2**70, 1.0, 0.5, True, [], {}, "image/png", "no type", "2026-03-04",
    "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59-10:00", "2026-03-04T05:06:07+02:00",
])  # fmt: skip


@given(METADATA, st.dictionaries(st.sampled_from((*sidecars.METADATA_FIELDS, "attributes", "later")), ODD, max_size=4))
def test_metadata_are_checked_as_those_of_a_caller_are(metadata: MediaMetadata, odd: dict[str, Any]) -> None:
    """No model is made of them, so the same must be refused, in the same words, and the same come out."""
    values = {**built(metadata, ContentFields(), expires_at=None).values, **odd}
    named = {name: value for name in sidecars.METADATA_FIELDS if (value := values.get(name)) is not None}
    try:
        wanted = MediaMetadata(**named)
    except errors.InvalidMediaError as error:
        problem = error.problem
    else:
        assert Sidecar(values).metadata(REFERENCE) == {name: getattr(wanted, name) for name in named}
        return
    assert problem in str(raised(errors.CorruptSidecarError, lambda: Sidecar(values).metadata(REFERENCE)))


@given(st.dictionaries(TEXTS.filter(lambda name: name not in sidecars._TYPES), JSON))
def test_no_key_is_lost_by_a_rewrite(values: dict[str, Any]) -> None:
    values = {**values, "fsmedia": 1}
    data = parsed(json.dumps(values).encode()).dump()
    assert (json.loads(data), list(json.loads(data)), parsed(data).dump()) == (values, list(values), data)


@given(METADATA, CONTENT, st.none() | INSTANTS, st.none() | st.just("image/gif"), st.integers(0, 2**50))
def test_a_record_comes_out_of_what_was_built(metadata, content, expires_at, detected, size) -> None:
    if expires_at is not None:  # Go reads it too
        text = timestamp_text(expires_at)
        assert (text[-1], datetime.fromisoformat(text)) == ("Z", expires_at)
    made = built(metadata, content, expires_at=expires_at, detected_mime_type=detected)
    read = parsed(made.dump())
    assert (read, MediaMetadata(**read.metadata(REFERENCE))) == (made, metadata)
    described = read.content_values(REFERENCE)
    assert ContentFields(**{name: described[name] for name in models.CONTENT_FIELDS if name in described}) == content
    assert read.record(REFERENCE, size) == MediaRecord(
        **{**dict(metadata), **dict(content), "size_bytes": size}, reference=models.Reference(REFERENCE), sha256=DIGEST,
        expires_at=expires_at, detected_mime_type=detected,
    )  # fmt: skip


def test_promptkits_sidecars_survive_and_the_reference_the_size_and_other_fields_come_from_nowhere_else() -> None:
    sidecar = parsed(PROMPTKIT)
    record = sidecar.record(REFERENCE, 123)
    assert (record.run_id, record.message_idx, record.part_idx) == ("run-2026-03-04", 3, 1)
    assert record.provider_id == "openai<x>"
    assert record.size_bytes == 123  # the storage's word, PromptKit writes 0 for streams
    assert record.timestamp == datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=timezone(timedelta(hours=2)))
    assert (record.sha256, record.expires_at, record.xattrs) == (None, None, {})
    assert json.loads(sidecar.dump()) == json.loads(PROMPTKIT)
    assert list(json.loads(sidecar.dump())) == list(json.loads(PROMPTKIT))
    assert b"2026-03-04T05:06:07.890123456+02:00" in sidecar.dump()
    assert b"12345678901234567890123" in sidecar.dump()
    zero = parsed(b'{"run_id":"r","mime_type":"","size_bytes":0,"timestamp":"0001-01-01T00:00:00Z","policy_name":""}')
    record = zero.record(REFERENCE, 0)
    assert (record.mime_type, record.timestamp, record.policy_name) == ("", None, None)
    assert parsed(b'{"policy_name":"keep-forever"}').record(REFERENCE, 0).policy_name == "keep-forever"
    assert parsed(b"{}").record(REFERENCE, 5) == MediaRecord(reference=REFERENCE, size_bytes=5)
    nulls = parsed(b'{"run_id":null,"timestamp":null,"content":null,"xattrs":null,"sha256":null}')
    assert nulls.record(REFERENCE, 5) == MediaRecord(reference=REFERENCE, size_bytes=5)
    data = b'{"run_id":"r","width":1,"content":{"run_id":"evil","reference":"evil","width":2,"bogus":3}}'
    record = parsed(data).record(REFERENCE, 7)
    assert (record.run_id, record.reference, record.width) == ("r", REFERENCE, 2)
    record = parsed(b'{"reference":"runs/other/x.png","size_bytes":99}').record(REFERENCE, 7)
    assert (record.reference, record.size_bytes) == (REFERENCE, 7)
    assert type(record.reference) is models.Reference
    xattrs = {"user.a": "1", "user.b": {"deep": [1]}}
    assert parsed(json.dumps({"xattrs": xattrs}).encode()).record(REFERENCE, 7).xattrs == xattrs


@pytest.mark.parametrize("data", [
    b"", b"{", b'{"run_id": "r1"',  # cut by a full disk
    b"\x00" * 512, b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"a": NaN}', b'{"a": 1}}', b'{"run_id": "\\ud800"}',
    b"[" * 100000, b"\x89PNG\r\n\x1a\n",
], ids=lambda data: repr(data)[:20])  # fmt: skip
def test_what_is_no_json_is_corrupt(data: bytes) -> None:
    assert "is no JSON" in refused(data)


@pytest.mark.parametrize(("name", "value"), [
    ("run_id", 5), ("run_id", "x" * 5000), ("message_idx", -1), ("message_idx", "x"), ("part_idx", 1e3),
    ("timestamp", "yesterday"), ("timestamp", "2026-03-04T05:06:07"), ("mime_type", "image/png\r\nX-Evil: 1"),
    ("policy_name", []), ("sha256", 5), ("expires_at", "never"), ("xattrs", []), ("content", [1]),
    ("content", {"width": -1}), ("content", {"caption": 5}),
])  # fmt: skip
def test_wrong_values_are_corrupt_and_the_field_is_named(name: str, value: object) -> None:
    named = next(iter(value)) if name == "content" and isinstance(value, dict) else name
    assert named in refused(json.dumps({"run_id": "r", name: value}).encode())


def test_parts_are_corrupt_on_their_own_too_and_so_is_what_is_too_large_no_object_or_of_a_newer_format() -> None:
    for data in (b"[]", b"null", b"1", b'"text"'):
        assert "is no JSON object" in refused(data)
    for version in (sidecars.FORMAT + 1, 10**30, "1", None, 1.5, [1]):
        text = refused(json.dumps({"fsmedia": version}).encode())
        needed = ("upgrade fsmedia", f"up to {sidecars.FORMAT}", str(version))
        assert [said for said in needed if said not in text] == []
    raised(errors.CorruptSidecarError, parsed(b'{"message_idx":-1}').metadata, REFERENCE, match="message_idx")
    raised(errors.CorruptSidecarError, parsed(b'{"content":{"width":-1}}').record, REFERENCE, 7, match="width")
    assert "larger than" in refused(b'{"a":"' + b"x" * MAX_SIDECAR_BYTES + b'"}')
    assert parsed(b"{}" + b" " * (MAX_SIDECAR_BYTES - 2)).values == {}


def test_a_number_beyond_floats_does_not_make_a_rewrite_unreadable() -> None:
    """`1e400` reads as infinity, for which JSON has no word."""
    try:
        sidecar = parsed(b'{"run_id":"r","later":1e400}')
    except errors.CorruptSidecarError:
        return
    assert parsed(sidecar.dump()).values["run_id"] == "r"


DAY = timedelta(days=1)
TEMPLATE = "by/{run_id}/{timestamp:%Y-%m}/{name}{ext}"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(("retain", "delete-after"))
)


def asked(organization=None, templates=None, policies: Any = None, default_policy=None) -> Settings:
    return Settings.read(
        {"organization": organization, "layouts": templates, "policies": policies, "default_policy": default_policy}
    )


def made(settings: Settings | None = None, *, adopted: bool = False) -> Configuration:
    return Configuration.first(settings or asked(), organization=OrganizationMode.BY_RUN, adopted=adopted)


def document(**changes: Any) -> bytes:
    return json.dumps({**json.loads(made().dump()), **changes}).encode()


# -- store.json --------------------------------------------------------------------------------------------------
def test_what_lies_in_a_new_store_and_in_one_with_everything() -> None:
    values = {
        "fsmedia": 1, "organization": "by-run", "layouts": dict(DEFAULT_TEMPLATES), "policies": {},
        "default_policy": None, "deduplicate": False, "orphan_grace_seconds": 86400, "due_index": "complete",
    }  # fmt: skip
    assert made().dump().decode() == json.dumps(values, indent=2) + "\n"
    policies = [RetentionPolicy(name="audit", keep_for=365 * DAY), RetentionPolicy(name="legal")]
    values = json.loads(made(asked("by-session", {"by-run": TEMPLATE}, policies, "audit"), adopted=True).dump())
    assert values == {
        "fsmedia": FORMAT, "organization": "by-session", "layouts": {**DEFAULT_TEMPLATES, "by-run": TEMPLATE},
        "policies": {"audit": {"keep_for_seconds": 31536000}, "legal": {"keep_for_seconds": None}},
        "default_policy": "audit", "deduplicate": False, "orphan_grace_seconds": 86400, "adopted": True,
        "due_index": "partial",
    }  # fmt: skip


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
    assert (again, again.dump()) == (configuration, configuration.dump())
    assert again.layout.template == configuration.layouts[configuration.organization].template
    again.check(settings)
    again.check(asked())


@pytest.mark.parametrize("data", [
    b"", b"{", b"\0" * 64, b"[]", b"null", b"{}", b'{"fsmedia": "1"}', b'{"organization": "by-run"}', b"[" * 10**5,
], ids=lambda data: repr(data)[:20])  # fmt: skip
def test_what_is_no_store_json_is_damaged(data: bytes) -> None:
    caught = raised(errors.StorageError, Configuration.parse, data, match="restore it from a copy")
    assert caught.key == CONFIGURATION_KEY
    assert str(caught).isprintable()


@pytest.mark.parametrize("changes", [
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
    {"permissions": "world"}, {"permissions": 0o666}, {"permissions": ["shared"]},
], ids=str)  # fmt: skip
def test_wrong_settings_are_damage_not_defaults(changes: dict[str, Any]) -> None:
    """A setting that is ignored could cost data."""
    caught = raised(errors.StorageError, Configuration.parse, document(**changes), match="wrong setting")
    assert caught.key == CONFIGURATION_KEY


# -- what a caller asks ------------------------------------------------------------------------------------------
def test_what_was_not_given_is_not_asked_and_read_with_the_defaults_and_a_newer_store_is_not_opened() -> None:
    for changes in ({"fsmedia": FORMAT + 1}, {"dedup": True}, {"fsmedia": 9, "policies": 5}):
        with pytest.raises(errors.StoreConflictError, match=f"newer fsmedia.*knows format {FORMAT}") as info:
            Configuration.parse(document(**changes))
        assert "upgrade" in info.value.next_step
    assert asked() == Settings()
    assert asked("by-run").values["organization"] is OrganizationMode.BY_RUN
    assert asked(OrganizationMode.BY_SESSION).values["organization"] is OrganizationMode.BY_SESSION
    settings = asked(templates={OrganizationMode.BY_RUN: TEMPLATE})
    assert {mode: layout.template for mode, layout in settings.values["layouts"].items()} == {"by-run": TEMPLATE}
    assert Configuration.parse(b'{"fsmedia": 1}') == Configuration(due_index="partial"), "nobody promised an index"
    assert Configuration().organization == OrganizationMode.BY_RUN


@pytest.mark.parametrize(("arguments", "error"), [
    ({"organization": "by-user"}, errors.InvalidMediaError), ({"organization": 5}, errors.InvalidMediaError),
    ({"templates": {"by-user": TEMPLATE}}, errors.InvalidLayoutError),
    ({"templates": {"by-run": "../{run_id}/{name}{ext}"}}, errors.InvalidLayoutError),
    ({"policies": {"audit": timedelta(0)}}, errors.InvalidMediaError),
    ({"default_policy": "retain-0days", "policies": {}}, errors.UnknownPolicyError),
    ({"default_policy": 5}, errors.InvalidMediaError), ({"templates": TEMPLATE}, errors.InvalidMediaError),
    ({"policies": "audit"}, errors.InvalidMediaError), ({"policies": 5}, errors.InvalidMediaError),
    ({"default_policy": "audit", "policies": {}}, errors.UnknownPolicyError),
    ({"default_policy": "audit", "policies": {"other": DAY}}, errors.UnknownPolicyError),
], ids=str)  # fmt: skip
def test_what_can_not_be_meant_is_refused(arguments: dict[str, Any], error: type[errors.MediaError]) -> None:
    assert str(raised(error, asked, **arguments)).isprintable()


# -- differences -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("arguments", "here", "wanted"), [
    ({"organization": "by-session"}, "by-run", "by-session"),
    ({"default_policy": "retain-1days"}, "retain-30days", "retain-1days"),
    ({"templates": {"by-run": TEMPLATE}}, DEFAULT_TEMPLATES["by-run"], TEMPLATE),
    ({"policies": {"audit": 2 * DAY}}, "1 day", "2 days"), ({"policies": {}}, "audit: 1 day", "none"),
], ids=str)  # fmt: skip
def test_a_difference_names_both_values(arguments: dict[str, Any], here: str, wanted: str) -> None:
    store = made(asked(policies={"audit": DAY}, default_policy="retain-30days"))
    caught = raised(errors.StoreConflictError, store.check, asked(**arguments))
    assert [said for said in (here, wanted) if said not in str(caught)] == []
    assert "leave" in caught.next_step
    assert caught.key == CONFIGURATION_KEY


def test_settings_that_are_no_difference_may_be_of_the_stores_own_and_begin_like_promptkits() -> None:
    settings = asked("by-run", {"by-run": TEMPLATE}, {"audit": DAY}, "audit")
    made(settings).check(settings)
    made(settings).check(asked(templates={"by-session": DEFAULT_TEMPLATES["by-session"]}))
    made(settings).check(asked(policies=[RetentionPolicy(name="audit", keep_for=DAY)]))
    raised(errors.StoreConflictError, made().check, asked(default_policy="retain"), match="has default_policy none")
    made(asked(policies={"audit": DAY}, default_policy="audit")).check(asked(default_policy="audit"))
    for name in ("audit", "retain-0days", "delete-after-x", ""):  # judged at the latest when the store is made
        raised(errors.UnknownPolicyError, lambda name=name: made(asked(default_policy=name)))
    # Whoever opens the store again with its own default policy must not be told that it is unknown.
    try:
        store = made(asked(policies={"retain-legal": DAY}, default_policy="retain-legal"))
    except errors.MediaError:
        return  # refusing such names from the start is as good
    store.check(asked(default_policy="retain-legal"))


# -- environment -------------------------------------------------------------------------------------------------
def test_the_environment_may_name_the_store_and_a_grace_must_fit_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, " s3://bucket/media ")
    assert url_from_environment() == "s3://bucket/media"
    for value in ("", "  "):
        monkeypatch.setenv(URL_VARIABLE, value)
        raised(errors.InvalidMediaError, url_from_environment, match=URL_VARIABLE)
    monkeypatch.delenv(URL_VARIABLE)
    raised(errors.InvalidMediaError, url_from_environment, match="pass a URL")
    # The first write would make a store that its own settings do not fit, also the next time.
    raised(errors.InvalidMediaError, Settings.read, {"orphan_grace": timedelta(seconds=700.5)}, match="whole seconds")


HALF_PAST = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)


def test_retain_and_no_policy_keep_for_ever_and_no_instant_is_past_the_year_9999_nor_a_duration_too_long() -> None:
    # PromptArena's default, which PromptKit's own parser refuses.
    assert find_policy("retain", {}) == RetentionPolicy(name="retain", keep_for=None)
    assert expires_at(find_policy("retain", {}), HALF_PAST) is None
    assert expires_at(None, HALF_PAST) is None
    raised(errors.UnknownPolicyError, expires_at, find_policy("retain-2913000days", {}), HALF_PAST, match="9999")
    assert expires_at(find_policy("retain-2912000days", {}), HALF_PAST) == HALF_PAST + 2912000 * DAY
    for digits in ("1000000000", "9" * 30, "9" * 5000):
        with pytest.raises(errors.UnknownPolicyError, match="longer than any duration") as info:
            find_policy(f"retain-{digits}days", {})
        assert len(str(info.value)) < 300
    assert find_policy("retain-999999999days", {}).keep_for == timedelta(days=999999999)


@given(
    st.integers(1, 10**6), st.sampled_from(["delete-after-{}min", "retain-{}hours", "retain-{}days"]),
    st.datetimes(datetime(1971, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC)),
)  # fmt: skip
def test_a_number_counts_its_unit_and_a_media_expires_so_much_later(number, form, timestamp) -> None:
    unit = {"min": 60, "urs": 3600, "ays": 86400}[form[-3:]]
    policy = find_policy(form.format(number), {})
    assert policy.keep_for is not None
    assert policy.keep_for.total_seconds() == number * unit
    keep_for = timedelta(seconds=number * 8640 + 1)
    expires = expires_at(RetentionPolicy(name="a", keep_for=keep_for), timestamp)
    assert (expires, expires.tzinfo) == (timestamp + keep_for, UTC)


@given(st.one_of(st.text(), st.from_regex(r"(retain|delete-after)-?.{0,6}(min|hours|days)?", fullmatch=True)))
def test_any_text_is_a_policy_that_keeps_or_is_unknown(name: str) -> None:
    try:
        found, said = find_policy(name, {}), ""
    except errors.UnknownPolicyError as error:
        found, said = None, str(error)
    if found is None:
        assert len(said) < 600
        assert said.isprintable()
    else:
        assert found.name == name
        assert name == KEEP_FOREVER or (found.keep_for is not None and found.keep_for >= timedelta(minutes=1))


def test_a_stores_own_names_are_found_and_listed_and_take_no_name_that_means_something() -> None:
    named = named_policies({"audit": 365 * DAY, "for ever": RetentionPolicy(name="for ever")})
    assert find_policy("audit", named) == RetentionPolicy(name="audit", keep_for=365 * DAY)
    assert find_policy("for ever", named).keep_for is None
    assert find_policy("retain-2days", named).keep_for == 2 * DAY
    raised(errors.UnknownPolicyError, find_policy, "Audit", named)
    named = named_policies({"b-legal": DAY, "a-audit": DAY})
    raised(errors.UnknownPolicyError, find_policy, "audit", named, match="a-audit, b-legal")
    caught = raised(errors.UnknownPolicyError, find_policy, "x\n\x1b[31m" + "y" * 500, named)
    assert str(caught).isprintable()
    assert len(str(caught)) < 400
    audit = RetentionPolicy(name="audit", keep_for=DAY)
    expected = {"audit": audit}
    assert (named_policies({"audit": DAY}), named_policies({"audit": audit})) == (expected, expected)
    assert (named_policies([audit]), named_policies(iter([audit]))) == (expected, expected)
    assert named_policies({}) == named_policies([]) == {}
    assert list(named_policies({"b": DAY, "a": DAY})) == ["b", "a"]
    # A name that means something is not given another meaning.
    for name in ("retain-1days", "delete-after-5min", "retain", "retain-1000000000days"):
        with pytest.raises((errors.InvalidMediaError, errors.UnknownPolicyError), match=name):
            named_policies({name: timedelta(days=777)})
    assert named_policies({"retain-1days": DAY})["retain-1days"].keep_for == DAY


# -- when --------------------------------------------------------------------------------------------------------
# -- policies given to a store -----------------------------------------------------------------------------------
@pytest.mark.parametrize("policies", [
    {"audit": RetentionPolicy(name="other")}, [RetentionPolicy(name="a"), RetentionPolicy(name="a", keep_for=DAY)],
    {"": DAY}, {"x" * 256: DAY}, {"audit": timedelta(0)}, {"audit": -DAY}, {"audit": timedelta(microseconds=1)},
    {"audit": "soon"}, {"audit": 30}, {5: DAY}, ["audit"], "audit", [("audit", DAY)],
], ids=repr)  # fmt: skip
def test_policies_that_are_refused(policies: Any) -> None:
    raised(errors.InvalidMediaError, named_policies, policies)


def opened(url: str, endpoint: str | None):
    options = {"key": "k", "secret": "s"} | ({} if endpoint is None else {"endpoint_url": endpoint})
    return open_backend(url, options, timeout=timedelta(seconds=1))


def test_spellings_of_one_server_are_one_place_and_roots_beside_each_other_two() -> None:
    server = "http://127.0.0.1:9000"
    for one, other, same in [
        (server, f"{server}/", True), ("http://localhost:9000", server, True), (server, None, True),
        ("http://[::1]:9000", "HTTP://LOCALHOST:9000", True),
        ("https://S3.example.org", "https://s3.example.org:443/", True), (server, "http://127.0.0.1:9001", False),
        ("https://a.example.org", "https://b.example.org", False),
    ]:  # fmt: skip
        source, target = opened("s3://bucket/media", one), opened("s3://bucket/media/copy", other)
        assert overlap(source, target) is overlap(target, source) is same
    assert not overlap(opened("s3://bucket/media", server), opened("s3://bucket/media-copy", server))
