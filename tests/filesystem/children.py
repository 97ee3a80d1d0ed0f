"""What child processes run."""

from __future__ import annotations

from typing import Any


def round_trip(fs: Any, name: str) -> tuple[bytes, bytes]:
    """Read what the parent wrote, write something, read it back."""
    parent = fs.cat(["runs/r1/x.txt"])["runs/r1/x.txt"]
    fs.pipe_file(name, b"child")
    return parent, fs.cat([name])[name]
