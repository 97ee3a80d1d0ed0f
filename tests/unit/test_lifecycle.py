"""Rules of buckets: what becomes one, what can't, and the documents that S3 and GCS take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaRecord, OrganizationMode, RetentionPolicy
from fsmedia.format.layout import layouts
from fsmedia.format.settings import Configuration
from fsmedia.maintenance.bucket_rules import ABORT_AFTER_DAYS, Backstop, Lifecycle, bucket_prefix, plan, spoils
from fsmedia.models import Reference

if TYPE_CHECKING:
    from tests.storages import S3Storage

DAY = timedelta(days=1)
NOW = datetime(2026, 3, 4, tzinfo=UTC)
URL = "s3://bucket/lab/store"


def named(**policies: timedelta | None) -> dict[str, RetentionPolicy]:
    return {name: RetentionPolicy(name=name, keep_for=kept) for name, kept in policies.items()}


def planned(default: str | None = "retain-30days", url: str = URL, **settings: object) -> Lifecycle:
    return plan(Configuration(default_policy=default, **settings), url)  # type: ignore[arg-type]


def reasons(found: Lifecycle) -> dict[str | None, str]:
    return dict(found.cannot)


def test_the_default_policy_is_a_rule_for_the_folder_of_its_media() -> None:
    found = planned()
    assert (found.backstop, found.cannot) == (Backstop("lab/store/runs/", 30), ())
    assert planned("audit", policies=named(audit=365 * DAY)).backstop == Backstop("lab/store/runs/", 365)
    assert planned(url="gs://bucket").backstop == Backstop("runs/", 30)
    by_session = planned(organization=OrganizationMode.BY_SESSION)
    assert by_session.backstop == Backstop("lab/store/sessions/", 30)


def test_it_is_never_shorter_than_a_policy_that_may_be_used_below_the_prefix() -> None:
    found = planned(policies=named(audit=365 * DAY, short=DAY))
    assert found.backstop == Backstop("lab/store/runs/", 365)
    assert "after 365 days, not 30" in reasons(found)["retain-30days"]
    assert "single media" in reasons(found)["audit"]
    assert "single media" in reasons(found)["short"]
    # A part of a day is rounded up.
    assert planned(policies=named(audit=30 * DAY + timedelta(hours=1))).backstop == Backstop("lab/store/runs/", 31)
    assert planned(policies=named(audit=30 * DAY)).backstop == Backstop("lab/store/runs/", 30)


@pytest.mark.parametrize(
    ("settings", "policy", "said"),
    [
        ({"default": None}, None, "no default policy"),
        ({"default": "retain"}, "retain", "for ever"),
        ({"default": "delete-after-5min"}, "delete-after-5min", "whole days"),
        ({"default": "retain-36hours"}, "retain-36hours", "whole days"),
        ({"adopted": True}, "retain-30days", "before the store was made"),
        ({"deduplicate": True}, "retain-30days", "share their bytes"),
        ({"policies": named(legal=None)}, "retain-30days", "'legal', which keeps for ever"),
        ({"layouts": layouts({"by-run": "{run_id}/{name}{ext}"})}, "retain-30days", ".fsmedia/"),
    ],
)
def test_what_can_be_no_rule_is_said_with_its_reason(settings: dict, policy: str | None, said: str) -> None:
    found = planned(**settings)
    assert found.backstop is None
    assert said in reasons(found)[policy]
    assert [list(rule) for rule in found.document("s3")["Rules"]] == [
        ["ID", "Filter", "Status", "AbortIncompleteMultipartUpload"]
    ]


def test_named_policies_that_are_not_the_default_are_all_told() -> None:
    found = reasons(planned(None, policies=named(legal=None, scratch=timedelta(hours=12), audit=365 * DAY)))
    assert list(found) == [None, "audit", "legal", "scratch"]
    assert "for ever" in found["legal"]
    assert "whole days" in found["scratch"]


def test_no_rule_that_expires_reaches_the_store_s_own_files() -> None:
    for url in ("s3://bucket", "s3://bucket/", URL):
        for provider in ("s3", "gcs"):
            document = planned(url=url).document(provider)  # type: ignore[arg-type]
            for rule in document.get("Rules", ()):
                assert "Expiration" not in rule or rule["Filter"]["Prefix"].endswith("runs/")
            for rule in document.get("rule", ()):
                assert rule["action"]["type"] != "Delete" or rule["condition"]["matchesPrefix"][0].endswith("runs/")


@pytest.mark.parametrize(
    ("url", "prefix"),
    [("s3://b", ""), ("s3://b/", ""), ("gs://b/x", "x/"), ("s3://b/x/y/", "x/y/"), ("s3://b/a b#c?d", "a b#c?d/")],
)
def test_the_prefix_of_a_store_in_its_bucket(url: str, prefix: str) -> None:
    assert bucket_prefix(url) == prefix


def test_the_document_for_gcs_has_the_documented_shape() -> None:
    assert planned(url="gs://bucket/lab").document("gcs") == {
        "rule": [
            {
                "action": {"type": "AbortIncompleteMultipartUpload"},
                "condition": {"age": ABORT_AFTER_DAYS, "matchesPrefix": ["lab/"]},
            },
            {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["lab/runs/"]}},
        ]
    }
    # An empty prefix is no condition.
    assert planned(url="gs://bucket").document("gcs")["rule"][0]["condition"] == {"age": ABORT_AFTER_DAYS}


@pytest.mark.parametrize("prefix", ["lab/store", "x" * 900])
def test_s3_takes_the_document(prefix: str, moto_storage: S3Storage) -> None:
    client, bucket = moto_storage.server.client, moto_storage.bucket
    for settings in ({}, {"default": None}):
        document = planned(url=f"s3://{bucket}/{prefix}", **settings).document("s3")
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=document)
        kept = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert sorted(kept, key=lambda rule: rule["ID"]) == sorted(document["Rules"], key=lambda rule: rule["ID"])
        assert len({rule["ID"] for rule in kept}) == len(kept)


def record(reference: str = "runs/r1/x.png", **fields: object) -> MediaRecord:
    usual = {"timestamp": NOW - DAY, "expires_at": NOW + 29 * DAY, "policy_name": "retain-30days"}
    return MediaRecord(reference=Reference(reference), **{**usual, **fields})  # type: ignore[arg-type]


def test_what_a_backstop_would_take_too_early() -> None:
    def why(each: MediaRecord) -> str | None:
        return spoils(each, "lab/store/", Backstop("lab/store/runs/", 30), NOW)

    assert why(record()) is None
    assert why(record(expires_at=NOW)) is None
    assert why(record("other/x.png", hold="case", expires_at=None)) is None
    assert why(record(hold="case 4711")) == "it is held"
    assert why(record(expires_at=None)) == "it is kept for ever"
    assert "longer than 30 days" in str(why(record(expires_at=NOW + 300 * DAY, policy_name="audit")))
    assert "future" in str(why(record(timestamp=NOW + DAY, expires_at=NOW + 31 * DAY)))
    assert "longer" in str(why(record(timestamp=None)))
