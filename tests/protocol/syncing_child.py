"""Run by the tests of sync in a process of its own, to be killed, or to say what the work added to its memory.

`syncing_child.py <JSON: url, options, target, to_options, wishes>` prints a line for each step of progress, then JSON:
peak resident set in bytes before and after, media copied, what failed.
"""

from __future__ import annotations

import json
import sys

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.protocol.streaming_child import peak


def main() -> None:
    """Bring one tiny media over first, so that all clients are loaded, then measure."""
    ask = json.loads(sys.argv[1])
    store = MediaStore(ask["url"], storage_options=ask["options"])
    if ask.get("warm"):
        store.store_media(MediaContent.from_bytes(b"tiny", "text/plain"), MediaMetadata(run_id="tiny"))
        store.sync_to(ask["target"], storage_options=ask["to_options"], **{**ask["wishes"], "run_id": "tiny"})
    before = peak()
    report = store.sync_to(
        ask["target"],
        storage_options=ask["to_options"],
        progress=lambda media, size: print(media, size, flush=True),
        **ask["wishes"],
    )
    failed = [str(each.error) for each in report.failed]
    print(json.dumps({"before": before, "after": peak(), "copied": report.copied, "failed": failed}))


if __name__ == "__main__":
    main()
