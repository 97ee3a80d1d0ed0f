"""Bucket rules: what of a store's policies S3 and GCS can keep by themselves, and what they can't, each with a reason.

A policy belongs to a media and stands in its sidecar; a rule of a bucket belongs to a prefix, counts whole days from
an object's creation, and knows neither sidecars nor holds. So a rule is only right where no media below its prefix is
to stay longer, and only the default policy can be meant by one: as a backstop for the day on which nobody sweeps.
S3 rounds up to the next midnight UTC and GCS acts at the full age, so neither is earlier than the policy.

Never made into a rule: expiry of `.fsmedia/`. Sweeps need the due entries however old they are, holds have no age, and
the settings must stay.

Pure: documents out of settings; nothing is applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fsmedia.format import keys
from fsmedia.format.policy import find_policy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaRecord, RetentionPolicy

Provider = Literal["s3", "gcs"]

ABORT_AFTER_DAYS = 7
"""After so long an upload in parts is given up: no writer takes that long, and its parts cost money unseen."""

CONDITIONS = (
    "the rule knows no holds: a media that is held goes all the same",
    "it knows no policies of single media: one under a longer name (retain-400days), or under none, goes all the same",
    "it counts from the day the bytes arrived, not from a media's own timestamp, should that be later",
    "it deletes bytes, sidecars and nothing else: no deletion is recorded, due entries are left to the next sweep",
)
"""When a backstop is not right, to be told with it."""

_DAY = timedelta(days=1)


class MissingRule(NamedTuple):
    """A policy that no bucket rule can express, and why; `policy` is None where it is about having none."""

    policy: str | None
    reason: str


class Backstop(NamedTuple):
    """A bucket rule that deletes everything below a prefix after so many days."""

    prefix: str
    days: int


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Lifecycle rules of a bucket for a store.

    Attributes
    ----------
    root
        The store's prefix in its bucket: empty, or ending with a slash.
    backstop
        The rule for the default policy; None where there can't be one.
    cannot
        What no rule says.
    """

    root: str
    backstop: Backstop | None
    cannot: tuple[MissingRule, ...]

    def document(self, provider: Provider) -> dict[str, Any]:
        """Return the JSON document that the provider's own tool takes.

        For S3 that is `aws s3api put-bucket-lifecycle-configuration --lifecycle-configuration file://...`, for GCS
        `gcloud storage buckets update --lifecycle-file=...`. Both replace all rules that the bucket has.
        """
        return {"Rules": self._s3()} if provider == "s3" else {"rule": self._gcs()}

    def _s3(self) -> list[dict[str, Any]]:
        abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_AFTER_DAYS}}
        rules = [_s3_rule("abort", self.root, abort)]
        if self.backstop is not None:
            rules.append(_s3_rule("expire", self.backstop.prefix, {"Expiration": {"Days": self.backstop.days}}))
        return rules

    def _gcs(self) -> list[dict[str, Any]]:
        rules = [_gcs_rule("AbortIncompleteMultipartUpload", self.root, ABORT_AFTER_DAYS)]
        if self.backstop is not None:
            rules.append(_gcs_rule("Delete", self.backstop.prefix, self.backstop.days))
        return rules


def plan(configuration: Configuration, url: str) -> Lifecycle:
    """Return the lifecycle rules that a bucket can have for a store.

    Parameters
    ----------
    configuration
        The store's settings.
    url
        Its root: `s3://bucket/prefix`, `gs://bucket`.

    Raises
    ------
    UnknownPolicyError
        The default policy means nothing.
    """
    root = bucket_prefix(url)
    cannot = [MissingRule(name, _why_not(policy)) for name, policy in _others(configuration).items()]
    if configuration.default_policy is None:
        reason = "there is no default policy: media that name none are kept for ever, so nothing may expire by prefix"
        return Lifecycle(root, None, (MissingRule(None, reason), *cannot))
    default = find_policy(configuration.default_policy, configuration.policies)
    refused = _refusal(configuration, default)
    if refused is not None:
        return Lifecycle(root, None, (MissingRule(default.name, refused), *cannot))
    kept = {name: policy.keep_for for name, policy in {**_others(configuration), default.name: default}.items()}
    days = {name: -(-keep_for // _DAY) for name, keep_for in kept.items() if keep_for is not None}
    longest = max(days, key=lambda name: (days[name], name == default.name))
    if longest != default.name:
        reason = (
            f"the rule comes after {days[longest]} days, not {days[default.name]}: media under {longest!r} may lie "
            "below the same prefix"
        )
        cannot.insert(0, MissingRule(default.name, reason))
    return Lifecycle(root, Backstop(f"{root}{configuration.layout.prefix}/", days[longest]), tuple(cannot))


def bucket_prefix(url: str) -> str:
    """Return the prefix of a store's keys in its bucket: empty, or ending with a slash."""
    prefix = url.partition("://")[2].partition("/")[2].strip("/")
    return f"{prefix}/" if prefix else ""


def spoils(record: MediaRecord, root: str, backstop: Backstop, now: datetime) -> str | None:
    """Return why a backstop would delete a media too early; None if it would not.

    Parameters
    ----------
    record
        The media, as `info` returns it.
    root
        The store's prefix in its bucket.
    """
    if not f"{root}{record.reference}".startswith(backstop.prefix):
        return None
    if record.hold is not None:
        return "it is held"
    if record.expires_at is None:
        return "it is kept for ever"
    if record.timestamp is not None and record.timestamp > now:
        return "its timestamp lies in the future"
    if record.timestamp is None or record.expires_at - record.timestamp > backstop.days * _DAY:
        return f"policy {record.policy_name} keeps it for longer than {backstop.days} days"
    return None


def _others(configuration: Configuration) -> Mapping[str, RetentionPolicy]:
    named = configuration.policies
    return {name: named[name] for name in sorted(named) if name != configuration.default_policy}


def _why_not(policy: RetentionPolicy) -> str:
    """Say why a policy that is not the default has no rule."""
    if policy.keep_for is None:
        return "it keeps for ever, and buckets have rules for deleting only"
    if policy.keep_for % _DAY:
        return _part_of_a_day(policy.keep_for)
    return (
        "it is for single media among others, and a rule takes all below a prefix; where it is for all, make a store "
        "of their own with it as the default policy"
    )


def _part_of_a_day(keep_for: timedelta) -> str:
    return f"it keeps for {keep_for}, and buckets count whole days"


def _refusal(configuration: Configuration, default: RetentionPolicy) -> str | None:
    """Say why the default policy has no rule; None if it can have one."""
    if default.keep_for is None:
        return "it keeps for ever, and buckets have rules for deleting only"
    if default.keep_for % _DAY:
        return _part_of_a_day(default.keep_for)
    return _unfit(configuration) or next(
        (
            f"media under {name!r}, which keeps for ever, may lie below the same prefix"
            for name, policy in _others(configuration).items()
            if policy.keep_for is None
        ),
        None,
    )


def _unfit(configuration: Configuration) -> str | None:
    """Say why no rule fits this store; None if one may."""
    if configuration.adopted:
        return "media lay here before the store was made: they may have no policy, and a rule would delete them too"
    if configuration.deduplicate:
        return "media share their bytes: a rule would delete references and leave the bytes of all of them"
    if not configuration.layout.prefix:
        return f"media lie right below the root, as {keys.INTERNAL}/ does: a rule would delete the store's own files"
    return None


def _s3_rule(word: str, prefix: str, action: dict[str, Any]) -> dict[str, Any]:
    # An ID must be unique in its bucket, which may hold several stores, and short, which a prefix need not be.
    name = f"fsmedia-{word}-{sha256(prefix.encode()).hexdigest()[:12]}"
    return {"ID": name, "Filter": {"Prefix": prefix}, "Status": "Enabled", **action}


def _gcs_rule(action: str, prefix: str, days: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"age": days}
    if prefix:
        condition["matchesPrefix"] = [prefix]
    return {"action": {"type": action}, "condition": condition}
