"""Templates, ids and metadata that tests of layouts, models and sidecars have in common."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from fsmedia.format.keys import VIEWS
from fsmedia.models import MediaMetadata

UNIQUE = "u01m833sxqnekfsa8ydpf0n07fg"
NAME = f"0003_01_{UNIQUE}"
TAIL = "/{name}{ext}"
AT = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
RESERVED = [".fsmedia", ".FSMEDIA", ".fsmediA", ".dedup_index.json", f".tmp-{UNIQUE}", *VIEWS, "By-Run"]
TRICKY = ["", ".", "..", "...", "~", "~~", "~_", "~2e", "_", ".meta", "a.meta", "a.META", "a~2emeta", "/", "a/b", "a_b"]

IDS = st.one_of(
    st.text(),
    st.text(alphabet=st.sampled_from("~_2eE.metaA/é%\0 +@,"), max_size=14),
    st.sampled_from(["~2efsmedia", "x.meta", "run", "Run", *TRICKY, *RESERVED]),
    st.text(alphabet=st.sampled_from("a~é.😀"), min_size=30, max_size=300),
)
FULL = {
    "run_id": "r1", "conversation_id": "c1", "session_id": "s1", "provider_id": "openai", "mime_type": "image/png",
    "message_idx": 3, "part_idx": 1, "timestamp": AT,
}  # fmt: skip
TEMPLATES = [
    "runs/{run_id}/{name}{ext}", "{run_id}/{name}{ext}", "{run_id}/{provider_id}/{mime_type}/{name}{ext}",
    "a.b/{run_id}+{session_id}/{name}{ext}", "{run_id}@{session_id},{provider_id}/{name}{ext}",
    "by-{run_id}/{name}{ext}", ".fs{run_id}/{name}{ext}", ".t{run_id}/{name}{ext}", "{run_id}sion/{name}{ext}",
    "x/{run_id}/{timestamp:%Y-%m-%d}/{name}{ext}", "{timestamp:%Y}/{timestamp:%m}/{run_id}/media/{name}{ext}",
    "{timestamp:%Y%j_%H%M%S}/{run_id}/{name}{ext}", "m/{message_idx:04d}-{part_idx}/{run_id}/{name}{ext}",
    "m/{run_id}+{message_idx}+{timestamp:%Y}{timestamp:%m}+{session_id}/{name}{ext}",
    "m/{timestamp:%Y.%m}_{message_idx:02d}a1{part_idx:018d}/x{run_id}y/{name}{ext}",
]  # fmt: skip
TEXT_FIELDS = ("run_id", "conversation_id", "session_id", "provider_id", "mime_type")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def metadata(timestamps: st.SearchStrategy[datetime | None]) -> st.SearchStrategy[MediaMetadata]:
    """Draw metadata with anything that each field takes."""
    return st.builds(
        MediaMetadata,
        **dict.fromkeys(("run_id", "conversation_id", "session_id", "provider_id"), TEXTS),
        **dict.fromkeys(("message_idx", "part_idx"), st.integers(0, 10**9 - 1)),
        mime_type=st.sampled_from(["", "image/png", "text/plain; charset=utf-8", "AUDIO/L16;rate=24000"]),
        size_bytes=st.integers(0, 2**63),
        timestamp=timestamps,
        policy_name=st.none() | st.sampled_from(["retain", "retain-30days", "audit", "é"]),
    )
