"""Run by `test_processes.py` in a process of its own: streams one large media, or syncs a store to be killed at it.

`streaming_child.py <JSON: url, options, how, ...>` prints JSON: peak resident set in bytes before and after, and an
answer; a sync prints a line for each step of its progress before.

The peak is the kernel's VmHWM. `ru_maxrss` would begin with the peak of the process that started this one (the kernel
keeps it over an exec), so that a large pytest would hide whatever happens here; it serves where there is no /proc.
"""

import asyncio
import hashlib
import json
import re
import resource
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsmedia import AsyncMediaStore, MediaContent, MediaError, MediaMetadata, MediaStore

PIECE = 2**20


def peak() -> int:
    """Return the largest resident set so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def digest_of(file) -> str:
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def downloaded(store: MediaStore, reference: str):
    """Give a file of this machine that the media was brought to."""
    with tempfile.NamedTemporaryFile() as file:
        store.fs.get_file(reference, file.name)
        yield file


async def digest_of_stream(store: AsyncMediaStore, reference: str) -> str:
    """Read the chunks that coroutines get."""
    digest = hashlib.sha256()
    async with store:
        async for chunk in store.stream(reference):
            digest.update(chunk)
    return digest.hexdigest()


def stream(store: MediaStore, how: str, source: str, reference: str) -> str:
    """Do one thing; return the reference that was stored, or the digest of what was read."""
    metadata = MediaMetadata(run_id="large")
    if how == "in-path":
        return store.store_media(MediaContent.from_path(source, "video/mp4"), metadata)
    if how == "in-stream":
        with open(source, "rb") as file:
            return store.store_media(MediaContent.from_stream(file, "video/mp4"), metadata)
    if how == "in-writer":
        with open(source, "rb") as file, store.create_media(metadata, "video/mp4") as writer:
            while piece := file.read(PIECE):
                writer.write(piece)
        return writer.reference
    if how in ("out-open", "out-file"):
        with store.open(reference) if how == "out-open" else downloaded(store, reference) as file:
            return digest_of(file)
    if how == "out-path":
        content = store.retrieve_media(reference)  # its copy goes when it goes
        with content.local_path().open("rb") as file:
            return digest_of(file)
    if how == "out-whole":  # what must not happen, to see that it would be seen
        return hashlib.sha256(store.retrieve_media(reference).read_bytes()).hexdigest()
    raise ValueError(how)


def info(store: MediaStore, reference: str) -> str:
    """Return what is told of a media, or the error."""
    try:
        return str(store.info(reference))
    except MediaError as error:
        return f"{type(error).__name__}: {error}"


def sync(store: MediaStore, ask: dict[str, Any]) -> tuple[int, Any]:
    """Sync, after one tiny media where all clients shall be loaded; return the peak before, and what was done."""
    words = {"storage_options": ask["to_options"], **ask["wishes"]}
    if ask.get("warm"):
        store.store_media(MediaContent.from_bytes(b"tiny", "text/plain"), MediaMetadata(run_id="tiny"))
        store.sync_to(ask["target"], **{**words, "run_id": "tiny"})
    before = peak()
    report = store.sync_to(ask["target"], progress=lambda media, size: print(media, size, flush=True), **words)
    return before, (report.copied, [str(each.error) for each in report.failed])


def main() -> None:
    """Open, store and read one tiny media, then measure."""
    ask = json.loads(sys.argv[1])
    store = MediaStore(ask["url"], storage_options=ask["options"])
    if ask["how"] == "sync":
        before, answer = sync(store, ask)
        print(json.dumps({"before": before, "after": peak(), "answer": answer}))
        return
    tiny = store.store_media(MediaContent.from_bytes(b"tiny", "text/plain"), MediaMetadata(run_id="tiny"))
    assert store.retrieve_media(tiny).read_bytes() == b"tiny"
    asynchronous = AsyncMediaStore(ask["url"], storage_options=ask["options"])
    if ask["how"] == "out-chunks":
        asyncio.run(digest_of_stream(asynchronous, tiny))
    before = peak()
    if ask["how"] == "out-chunks":
        answer = asyncio.run(digest_of_stream(asynchronous, ask["reference"]))
    elif ask["how"] == "info":
        answer = info(store, ask["reference"])
    else:
        answer = stream(store, ask["how"], ask["source"], ask["reference"])
    print(json.dumps({"before": before, "after": peak(), "answer": answer}))


if __name__ == "__main__":
    main()
