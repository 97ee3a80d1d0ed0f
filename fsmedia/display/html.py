"""HTML of one media, and of what stands around it. Everything a stranger wrote is escaped, always, by markupsafe.

No address is ever written: pictures and sounds stand in the page as data URLs of types from a fixed list, made from
this package's own small pictures and from sounds; a `Player` has the original there. Nothing of a media is markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from contextlib import suppress
from importlib import resources
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.display.previewer import PLAYED, Preview, family_of
from fsmedia.errors import InvalidMediaError, MediaTooLargeError, StorageError
from fsmedia.models import MediaContent, mime
from fsmedia.models.text import sentence, size_text, visible, visible_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

SHOWN_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")
"""Pictures that browsers show and that can hold no script."""

_HEAD = 8192
_MOST_TEXT = 200_000
_ICONS = {
    "image": "M5 8h36v30H5zM5 32l11-11 9 9 6-6 10 10M31 17a3 3 0 1 0 .1 0",
    "audio": "M17 34V12l20-4v22M17 34a5 4 0 1 1-5-4 5 4 0 0 1 5 4M37 30a5 4 0 1 1-5-4 5 4 0 0 1 5 4",
    "video": "M5 10h36v26H5zM19 17v12l10-6z",
    "text": "M11 5h17l8 8v28H11zM28 5v8h8M16 20h15M16 26h15M16 32h10",
    "file": "M11 5h17l8 8v28H11zM28 5v8h8",
}
_WAVE_HEIGHT = 70
_WAVE_STEP = 4


def data_url(kind: str, data: bytes) -> str:
    """Return a data URL; the type must be one of this package's own lists."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def joined(parts: Iterable[Markup]) -> Markup:
    """Return HTML one after the other."""
    return Markup("").join(parts)


@functools.cache
def asset(name: str) -> str:
    """Return a file of this package: the style, the script."""
    return resources.files("fsmedia.display").joinpath(name).read_text(encoding="utf-8")


def style(extra: str = "") -> Markup:
    """Return the style element; the text is this package's own."""
    return Markup("<style>{}</style>").format(_trusted(asset("style.css") + extra))


@functools.cache
def script_text() -> str:
    """Return the script of a page: the same for every page, so that a policy can name its digest."""
    start = 'document.querySelectorAll(".fsm-gallery:not(.fsm-js)").forEach(fsmStart);'
    return f"(() => {{\n{asset('script.js')}{start}\n}})();"


def script() -> Markup:
    """Return the script element."""
    return Markup("<script>{}</script>").format(_trusted(script_text()))


def document(title: str, body: Markup) -> str:
    """Return a whole page whose policy lets nothing be loaded and only this package's script run."""
    # The digest of the one script: a script that anything else brings along does not run.
    digest = base64.b64encode(hashlib.sha256(script_text().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; media-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return Markup(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="{}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="color-scheme" content="light dark"><title>{}</title>'
        "<style>body{{margin:0;padding:20px max(16px,calc(50vw - 720px));background:#fff}}"
        "@media (prefers-color-scheme:dark){{body{{background:#14181d}}}}</style>"
        "</head><body><main>{}</main></body></html>\n"
    ).format(policy, title, body)


def save_page(text: str, path: str | PathLike[str]) -> Path:
    """Write a page to a file, or raise StorageError; whoever reads sees the old file or the new one."""
    target = Path(path).expanduser()
    staged = target.with_name(f".fsmedia-{token_hex(8)}.html")
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_text(text, encoding="utf-8")  # /dev/null, a named pipe: written into, never replaced
            return target
        # Not tempfile, whose files nobody else may read: a page is shared as any file is.
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        staged.replace(target)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        raise StorageError(
            f"can't be written ({error.strerror or type(error).__name__})",
            next_step="choose another path; folders are not made",
            key=str(target),
        ) from error
    return target


def icon(family: str) -> Markup:
    """Return a drawn sign for a kind of media; it says nothing that the text beside it does not."""
    return Markup(
        '<svg class="fsm-icon" viewBox="0 0 46 46" fill="none" stroke="currentColor" stroke-width="2" '
        'stroke-linejoin="round" stroke-linecap="round" aria-hidden="true"><path d="{}"/></svg>'
    ).format(_ICONS[family])


def wave(peaks: tuple[int, ...], label: str) -> Markup:
    """Return the outline of a sound."""
    middle = _WAVE_HEIGHT // 2
    halves = [max(1, peak * (middle - 2) // 100) for peak in peaks]
    bars = (f"M{index * _WAVE_STEP + 2} {middle - half}v{2 * half}" for index, half in enumerate(halves))
    return Markup(
        '<svg class="fsm-wave" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}" '
        'stroke="currentColor" stroke-width="2.4" stroke-linecap="round"><path d="{}"/></svg>'
    ).format(max(1, len(peaks)) * _WAVE_STEP, _WAVE_HEIGHT, label, "".join(bars))


def view(preview: Preview, family: str, label: str, length: str = "") -> Markup:
    """Return what is seen of a media: the upper half of its card.

    `family` is as of `previewer.family_of`, `label` what a screen reader says, `length` that of a film, as text.
    """
    if preview.kind == "text":
        return Markup('<pre tabindex="0" aria-label="{}">{}</pre>').format(f"First lines of {label}", preview.text)
    parts: list[Markup] = []
    if preview.image and preview.image_type:
        picture = Markup(
            '<details class="fsm-zoom"><summary aria-label="{}"><img src="{}" alt="{}" width="240" '
            'decoding="async"></summary></details>'
        )
        parts.append(picture.format(f"Enlarge {label}", data_url(preview.image_type, preview.image), label))
    if preview.peaks:
        parts.append(wave(preview.peaks, f"Outline of {label}"))
    if preview.sound and preview.sound_type:
        sound = Markup('<audio controls preload="metadata" src="{}" aria-label="{}"></audio>')
        parts.append(sound.format(data_url(preview.sound_type, preview.sound), label))
    if not parts:
        parts.append(icon(family))
    if preview.reason:
        word = "no preview: " if not (preview.image or preview.peaks or preview.sound) else ""
        parts.append(Markup('<span class="fsm-why">{}{}</span>').format(word, visible(preview.reason, most=300)))
    if preview.image and length:
        parts.append(Markup('<span class="fsm-play">&#9654; {}</span>').format(length))
    return joined(parts)


def copied(text: str, label: str) -> Markup:
    """Return a line of text with a button that copies it as it is; what is seen has no invisible characters."""
    return Markup(
        '<div class="fsm-line"><code title="{0}">{0}</code>'
        '<button type="button" class="fsm-copy" data-copy="{1}" aria-label="{2}">Copy</button></div>'
    ).format(visible(text), text, label)


def table(heads: Iterable[str], rows: Iterable[Iterable[object]], *, right: Iterable[int] = ()) -> Markup:
    """Return a table; columns of numbers stand to the right."""
    numbers, cell, place = set(right), Markup("<{0}{1}>{2}</{0}>"), Markup(' class="fsm-right"')

    def line(tag: str, values: Iterable[object]) -> Markup:
        cells = (cell.format(tag, place if index in numbers else "", value) for index, value in enumerate(values))
        return Markup("<tr>{}</tr>").format(joined(cells))

    return Markup('<div class="fsm-scroll"><table><thead>{}</thead><tbody>{}</tbody></table></div>').format(
        line("th", heads), joined(line("td", row) for row in rows)
    )


class Player:
    """A content at full size, read now; a notebook shows it.

    MediaTooLargeError if it has more bytes than `max_size` (None: any number), InvalidMediaError if a browser can't
    show it.
    """

    def __init__(self, content: MediaContent, max_size: int | None) -> None:
        file = content.open()
        data = file.read() if max_size is None else file.read(max_size + 1)
        if file is not content.data:
            file.close()
        if max_size is not None and len(data) > max_size:
            raise MediaTooLargeError(
                f"is larger than {size_text(max_size)}, too much for a notebook",
                next_step="pass max_size=None to do it all the same, or play .local_path()",
                reference=content.storage_reference,
            )
        self._tag, self._type = playable(data, content.mime_type)
        self._data = data
        self._label = sentence(content.caption or content.mime_type, most=200)

    def __repr__(self) -> str:
        return f"<Player of {size_text(len(self._data))} {self._type}>"

    def _repr_html_(self) -> str:
        if self._tag == "text":
            text = visible_lines(self._data[:_MOST_TEXT].decode("utf-8-sig", errors="replace"))
            inner = Markup('<pre tabindex="0">{}</pre>').format(text)
        elif self._tag == "image":
            inner = Markup('<img src="{}" alt="{}">').format(data_url(self._type, self._data), self._label)
        else:
            inner = Markup('<{0} controls preload="metadata" src="{1}" aria-label="{2}"></{0}>').format(
                self._tag, data_url(self._type, self._data), self._label
            )
        return str(Markup('<div class="fsm fsm-player">{}{}</div>').format(style(), inner))


def playable(data: bytes, mime_type: str) -> tuple[str, str]:
    """Return how a browser may be given some bytes: ("image" | "audio" | "video" | "text", type).

    InvalidMediaError if no way is safe and of use.
    """
    found = mime.detect(data[:_HEAD])
    if found in SHOWN_PICTURES:
        return "image", found
    if found in PLAYED:
        family = "video" if found.startswith("video/") and not mime_type.startswith("audio/") else "audio"
        return family, PLAYED[found]
    if (found is None or family_of(found) == "text") and mime.is_text(data[:_HEAD]):
        return "text", "text/plain"
    raise InvalidMediaError(
        f"a browser can't show {found or visible(mime.essence(mime_type), most=100)}",
        next_step="use .local_path() and a program that can",
    )


def _trusted(text: str) -> Markup:
    """Take text as HTML: the style and the script of this package, and nothing that anybody else wrote."""
    return Markup(text)  # noqa: S704 - the one place where text becomes HTML without being escaped
