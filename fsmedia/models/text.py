"""Sizes, times and names as people read them; what strangers wrote loses the characters that command a screen. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import category, normalize
from urllib.parse import quote

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from fsmedia.models.metadata import MediaRecord

_KIB = 1024
_LONG_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))
_MINUTE = 60
_JOINERS = "\u200c\u200d"  # hold emoji and letters together, and turn nothing around
MAX_FILE_NAME = 200
"""Longest file name in bytes: room for a mark behind it below the 255 that file systems take."""
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's control and format characters, surrogates, ends of lines
_EDGES = re.compile(rf"^[\s{_JOINERS}.-]+|[\s{_JOINERS}.]+$")
_LONGEST_READ = 1024  # characters: normalizing takes the square of a run of marks
_LONGEST_EXTENSION = 16


def size_text(size: int) -> str:
    """Return a number of bytes as people read it: `95.9 KiB`."""
    if size < _KIB:
        return f"{size} B"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= _KIB
        if amount < _KIB or unit == "TiB":
            break
    return f"{amount:.1f} {unit}"


def distance_text(instant: datetime, now: datetime) -> str:
    """Return how far away an instant is: `in 3 days`, `2 hours ago`."""
    text = duration_text(abs(instant - now))
    return f"in {text}" if instant > now else f"{text} ago"


def duration_text(duration: timedelta) -> str:
    """Return a duration in its largest unit: `3 days`."""
    seconds = int(duration.total_seconds())
    for name, length in _LONG_UNITS:
        if seconds >= length:
            return plural(seconds // length, name)
    return plural(seconds, "second")


def minute_text(instant: datetime | None) -> str:
    """Return an instant to the minute, in UTC; empty for none."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M}Z"


def instant_text(instant: datetime) -> str:
    """Return an instant to the second, in UTC."""
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def length_text(seconds: float) -> str:
    """Return the length of a sound or film: `0:02`, `1:15:00`; below ten seconds with a tenth."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def plural(count: int, name: str) -> str:
    """Return a number of things: `1 file`, `1,240 files`, `2 policies`; media is its own plural."""
    if count != 1 and name != "media":
        name = f"{name[:-1]}ies" if name.endswith("cy") else f"{name}s"
    return f"{count:,} {name}"


def place_text(record: MediaRecord) -> str:
    """Return where a media item stands: `run r1, conversation c1, message 3, part 1`; what says nothing is left out."""
    ids = (("run", record.run_id), ("conversation", record.conversation_id), ("session", record.session_id))
    named = [f"{what} {visible(each)}" for what, each in ids if each]
    return ", ".join([*named, f"message {record.message_idx}", f"part {record.part_idx}"])


def shown_of(count: int, most: int) -> int:
    """Return how many of so many things to show: `most`, or all where only one would be left out."""
    return count if count <= most + 1 else most


def visible(text: str, *, most: int = 2000) -> str:
    r"""Return a stranger's text in which what can't be seen, or turns the line around, stands escaped; `\u202e`."""
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode("ascii") for c in text)


def sentence(text: str, *, most: int = 400) -> str:
    """Return a caption on one line, as `visible`: its line ends and tabs are blanks."""
    return visible(" ".join(text[: 4 * most].split()), most=most)


def visible_lines(text: str, *, most: int = 2000) -> str:
    """Return text with its lines, of at most so many characters, and tabs; all else as `visible`."""
    lines = text.replace("\r\n", "\n").expandtabs(4).split("\n")
    return "\n".join(visible(line, most=most) for line in lines)


def safe_file_name(path: str) -> str | None:
    """Return the last part of a path or of a stranger's text as a name that any file may have; None for nothing left.

    It is in NFC, has no separators, control or bidi characters, does not begin with a dot, a dash or a blank nor end
    with a dot or a blank, and is cut to `MAX_FILE_NAME` bytes before its extension.
    """
    last = path.replace("\\", "/").rpartition("/")[2][-_LONGEST_READ:]
    name = normalize("NFC", "".join(c for c in last if c in _JOINERS or category(c) not in _UNSEEN))
    name = _EDGES.sub("", name)
    if len(name.encode()) > MAX_FILE_NAME:
        stem, dot, extension = name.rpartition(".")
        ending = f"{dot}{extension}".encode() if 0 < len(extension) <= _LONGEST_EXTENSION and stem else b""
        room = MAX_FILE_NAME - len(ending)
        name = _EDGES.sub("", (name.encode()[:room] + ending).decode(errors="ignore"))
    return name or None


def content_disposition(how: str, name: str) -> str:
    """Return the header that names a file to a browser, whatever characters the name holds (RFC 6266)."""
    # The first name is for programs that know no other, and may hold nothing that some read in their own way.
    plain = re.sub(r'[^ -~]|["%\\]', "_", name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def checked_file_name(name: str) -> str:
    """Return a file name in NFC; ValueError where `safe_file_name` would make another of it."""
    normal = normalize("NFC", name[: _LONGEST_READ + 1])
    if safe_file_name(normal) != normal:
        raise ValueError(
            f"must be a file name of at most {MAX_FILE_NAME} bytes without separators, control and bidi characters, "
            "that neither begins with a dot, a dash or a blank nor ends with a dot or a blank"
        )
    return normal
