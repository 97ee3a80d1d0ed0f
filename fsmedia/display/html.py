"""HTML of one media, and of what stands around it. Everything a stranger wrote is escaped, always, by markupsafe.

No address is ever written: pictures and sounds stand in the page as data URLs of types from a fixed list, made from
this package's own small pictures and from sounds; a `Player` has the original there. Nothing of a media is markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import os
import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fsmedia.display.originals import original_of
from fsmedia.display.previewer import OpenedSource, Preview, preview_of
from fsmedia.errors import StorageError
from fsmedia.models import MediaContent
from fsmedia.models.text import sentence, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from fsmedia.display.originals import Original

_MOST_TEXT = 200_000
_POSTER_SIDE = 640
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
    """Return a file of this package."""
    return resources.files("fsmedia.display").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def viewer_text() -> str:
    """Return the module of a page with a gallery: the same for every page, so that a policy can name its digest."""
    return f"{asset('viewer.js')}\nstart(document);"


@functools.cache
def viewer() -> Markup:
    """Return the elements with the style of the viewer, and the module that starts it in all galleries of a page."""
    return Markup('<script type="text/css" class="fsm-css">{}</script><script type="module">{}</script>').format(
        _trusted(asset("viewer.css")), _trusted(viewer_text())
    )


def json_text(value: object) -> str:
    """Return JSON that may stand in a script element: ASCII without any sign that begins a tag."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def data_script(data: object) -> Markup:
    """Return the element with the data of a gallery, which nothing runs."""
    return Markup('<script type="application/json" class="fsm-data">{}</script>').format(_trusted(json_text(data)))


def told_of(original: Original) -> dict[str, Any]:
    """Return all of an original but its bytes, for a viewer; what is empty is left out."""
    names = ("kind", "type", "text", "html", "why", "name", "peaks", "seconds")
    return {name: value for name in names if (value := getattr(original, name))}


def original_script(index: int, original: Original) -> Markup:
    """Return the element with an original of a gallery, which nothing runs: bytes in base64, texts as JSON."""
    told = told_of(original)
    texts = {name: told.pop(name) for name in ("text", "html") if name in told}
    content = json_text(texts) if texts else base64.b64encode(original.data).decode()
    attributes = joined(
        Markup(' data-{}="{}"').format(name, json_text(value) if name == "peaks" else value)
        for name, value in told.items()
    )
    return Markup('<script type="application/octet-stream" class="fsm-original" data-i="{}"{}>{}</script>').format(
        index, attributes, _trusted(content)
    )


def document(title: str, body: Markup, code: str = "") -> str:
    """Return a whole page whose policy lets nothing be loaded, and no script but the code run."""
    # The digest of the one script: a script that anything else brings along does not run.
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if code else "'none'"
    policy = (
        f"default-src 'none'; img-src data: blob:; media-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )
    return Markup(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="{}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="color-scheme" content="light dark"><title>{}</title>'
        "<style>body{{margin:0;padding:20px max(16px,calc(50vw - 720px));background:#fff}}"
        "@media (prefers-color-scheme:dark){{body{{background:#131518}}}}</style>"
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
        '<svg viewBox="0 0 46 46" fill="none" stroke="currentColor" stroke-width="2" '
        'stroke-linejoin="round" stroke-linecap="round" aria-hidden="true"><path d="{}"/></svg>'
    ).format(_ICONS[family])


def wave(peaks: tuple[int, ...], label: str) -> Markup:
    """Return the outline of a sound."""
    middle = _WAVE_HEIGHT // 2
    halves = [max(1, peak * (middle - 2) // 100) for peak in peaks]
    bars = (f"M{index * _WAVE_STEP + 2} {middle - half}v{2 * half}" for index, half in enumerate(halves))
    return Markup(
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}" '
        'stroke="currentColor" stroke-width="2.4" stroke-linecap="round"><path d="{}"/></svg>'
    ).format(max(1, len(peaks)) * _WAVE_STEP, _WAVE_HEIGHT, label, "".join(bars))


class Player:
    """A content at full size, read now; a notebook shows it, or what it looks like and why a browser can't show more.

    It shows at most `max_size` bytes (None: any number); MediaError where the storage fails.
    """

    def __init__(self, content: MediaContent, max_size: int | None) -> None:
        most = sys.maxsize if max_size is None else max_size
        file = content.open()
        if file is content.data:  # a caller's stream is read once, and stays open
            file = io.BytesIO(file.read() if max_size is None else file.read(max_size + 1))
        with file:
            self._shown = shown = original_of(file, content, most=most)
            film = shown.kind in ("none", "video")
            self._poster = preview_of(OpenedSource(file), content.mime_type, _POSTER_SIDE) if film else Preview()
            larger = shown.kind == "none" and file.seek(0, io.SEEK_END) > most
        hint = "; .player(max_size=None) shows it all the same" if larger else ""
        self._why = f"{shown.why}{hint}" if shown.kind != "none" else f"{shown.why}{hint}; .local_path() is its file"
        self._label = sentence(content.caption or content.mime_type, most=200)

    def __repr__(self) -> str:
        shown = self._shown
        amount = size_text(len(shown.data) or len(shown.text))
        return f"<Player of {amount} {shown.type}>" if shown.kind != "none" else f"<Player of nothing: {self._why}>"

    def _repr_html_(self) -> str:
        # Styled inline: a host's rules for `pre` and pictures win over a style sheet, and some take sheets out.
        shown, poster, fits = self._shown, self._poster, "max-width:100%;max-height:80vh"
        still = data_url(poster.image_type, poster.image) if poster.image_type else ""
        if shown.kind == "html":
            inner = Markup("<div>{}</div>").format(_trusted(shown.html))
        elif shown.kind == "text":
            scrolls = "font:12px monospace;max-height:70vh;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere"
            inner = Markup('<div tabindex="0" data-lm-suppress-shortcuts="true" style="{}">{}</div>').format(
                scrolls, shown.text[:_MOST_TEXT]
            )
        elif shown.kind in ("audio", "video"):
            inner = Markup('<{0} controls preload="metadata" src="{1}" aria-label="{2}"{3} style="{4}"></{0}>').format(
                shown.kind,
                data_url(shown.type, shown.data),
                self._label,
                Markup(' poster="{}"').format(still) if still else "",
                fits if shown.kind == "video" else "width:100%;max-width:520px",
            )
        else:
            source = data_url(shown.type, shown.data) if shown.data else still
            picture = Markup('<img src="{}" alt="{}" style="display:block;{}">')
            inner = picture.format(source, self._label, fits) if source else Markup("")
        why = Markup('<p style="margin:4px 0;font-size:13px;opacity:.75">{}</p>').format(self._why) if self._why else ""
        return str(Markup('<div class="fsm">{}{}</div>').format(inner, why))


def _trusted(text: str) -> Markup:
    """Take text as HTML: style, script and rendered Markdown of this package, and nothing that anybody else wrote."""
    return Markup(text)  # noqa: S704 - the one place where text becomes HTML without being escaped
