"""What a power cut may leave of a folder: a model of a disk that forgets whatever was not synced.

Fed with the system calls that `FaultyOs` recorded. A name made, moved or removed is durable when its folder was synced
afterwards, bytes when their file was; until then either may have reached the disk, or not, in any order.
"""

import posixpath
from dataclasses import dataclass, field


@dataclass
class Disk:
    """Names and bytes, each with what is not yet durable."""

    names_under_way: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Path -> the call that is not durable yet, and the file it put there ("" where it removed it)."""
    bytes_under_way: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    """Paths that these calls made and did not remove."""

    def take(self, call: tuple[str, ...]) -> None:
        name, path = call[0], call[1]
        if name == "write":
            self.bytes_under_way.add(path)
        elif name == "fsync":
            self.bytes_under_way.discard(path)
            for other in [other for other in self.names_under_way if posixpath.dirname(other) == path]:
                del self.names_under_way[other]
        elif name in ("open", "mkdir"):
            self.names.add(path)
            self.names_under_way[path] = (name, path)
        elif name in ("rename", "replace", "link"):
            target = call[2]
            self.names.add(target)
            self.names_under_way[target] = (name, path)
            if path in self.bytes_under_way:
                self.bytes_under_way.add(target)
            if name != "link":
                self.names_under_way.pop(path, None)
        elif name == "unlink":
            self.names.discard(path)
            self.names_under_way[path] = (name, "")

    def durable(self, path: str, root: str) -> list[str]:
        """Return what of a file's way from the root is not durable."""
        problems = [f"bytes of {path}"] if path in self.bytes_under_way else []
        while len(path) >= len(root):
            if path in self.names_under_way:
                problems.append(f"{self.names_under_way[path][0]} of {path}")
            path = posixpath.dirname(path)
        return problems


def check_store(calls: list[tuple[str, ...]], root: str, reference: str) -> list[str]:
    """Return what a power cut during these calls could leave wrong: a sidecar before its bytes are durable."""
    disk, problems = Disk(), []
    media, sidecar = f"{root}/{reference}", f"{root}/{reference}.meta"
    for call in calls:
        if sidecar in call[1:] and call[0] in ("rename", "replace", "link"):
            problems += [] if media in disk.names else ["the sidecar appears before the media"]
            problems += [f"not durable when the sidecar appears: {problem}" for problem in disk.durable(media, root)]
            if call[1] in disk.bytes_under_way:
                problems.append("the sidecar appears before its bytes are durable")
        if media in call[1:] and call[0] in ("rename", "replace", "link") and call[1] in disk.bytes_under_way:
            problems.append("the media's name appears before its bytes are durable")
        disk.take(call)
    for path in (media, sidecar):
        problems += [f"not durable at the end: {problem}" for problem in disk.durable(path, root)]
    return problems


def check_delete(calls: list[tuple[str, ...]], root: str, reference: str) -> list[str]:
    """Return what a power cut during these calls could leave wrong: a sidecar whose bytes are gone."""
    disk, problems = Disk(), []
    media, sidecar = f"{root}/{reference}", f"{root}/{reference}.meta"
    removed = [call[1] for call in calls if call[0] == "unlink"]
    if removed != [sidecar, media]:
        problems.append(f"removed {removed}")
    for call in calls:
        if call[:2] == ("unlink", media) and sidecar in disk.names_under_way:
            problems.append("the bytes go before the sidecar's removal is durable")
        disk.take(call)
    problems += [f"not durable at the end: {path}" for path in (sidecar, media) if path in disk.names_under_way]
    return problems
