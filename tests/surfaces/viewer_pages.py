"""Pages for the viewer alone: data made by hand, as a saved gallery holds it, and real media to show."""

import base64
import hashlib
import html
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tests.surfaces import specimens

DISPLAY = Path(__file__).parents[2] / "fsmedia" / "display"
MODULE = (DISPLAY / "viewer.js").read_text()
SHEET = (DISPLAY / "viewer.css").read_text()
SCRIPT = f"{MODULE}\nstart(document);"
POLICY = (
    "default-src 'none'; img-src data: blob:; media-src data: blob:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
NOW = 1_790_000_000
SHAPES = ((300, 200), (200, 300), (250, 250), (320, 180), (280, 210))
Item = dict[str, Any]


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@cache
def thumb(size: tuple[int, int]) -> str:
    return data_url(specimens.picture((size[0] // 3, size[1] // 3), "JPEG"), "image/jpeg")


def item(number: int, **facts: Any) -> Item:
    """A picture of the number's own caption, run, model and size, or what `facts` make of it."""
    model, tags = ("flux", "sdxl")[number % 2], ["test", f"t{number % 3}"]
    width, height = SHAPES[number % len(SHAPES)]
    name = f"picture-{number:04}.jpg"
    made = {
        "ref": f"runs/r{number % 3 + 1}/{number:04}_01_u01.{name}", "title": name, "name": name, "kind": "image",
        "type": "image/jpeg", "size": 20_000 + 1000 * (number * 7 % 100), "w": width, "h": height, "alpha": False,
        "run": f"r{number % 3 + 1}", "conversation": f"c{number // 8}", "message": number, "part": 1,
        "time": NOW - 7200 * number, "provider": ("openai", "stability")[number % 2], "policy": "default",
        "caption": f"hills number {number}", "thumb": thumb((width, height)), "code": f"store.open({number})",
        "attributes": {"model": model, "seed": number * 7 % 100, "tags": tags},
    }  # fmt: skip
    return made | facts


def section(
    items: list[Item], originals: dict[int, dict[str, Any]] | None = None, mode: str = "page", **facts: Any
) -> str:
    """A gallery as it stands in a page: the contact sheet, the data, the style, the originals."""
    counts = {"shown": len(items), "media": len(items), "bytes": sum(each["size"] for each in items), "more": False}
    data = {"v": 1, "title": "Hills", "now": NOW, "root": "file:///media", "counts": counts, "notes": [], "group": None}
    text = json.dumps({**data, **facts, "items": items}).replace("<", "\\u003c")
    sheet = "".join(
        f'<img data-i="{n}" src="{thumb(SHAPES[0])}">' for n, each in enumerate(items) if each["thumb"] == "sheet"
    )
    return (
        f'<section class="fsm-gallery" data-fsm="{mode}"><p>a contact sheet</p>{sheet}'
        f'<script type="application/json" class="fsm-data">{text}</script>'
        f'<script type="text/css" class="fsm-css">{SHEET}</script>'
        f"{''.join(script(index, each) for index, each in (originals or {}).items())}</section>"
    )


def script(index: int, original: dict[str, Any]) -> str:
    """The element in which a page carries an original."""
    texts = {key: original.pop(key) for key in ("text", "html") if key in original}
    data = original.pop("data", b"")
    content = json.dumps(texts).replace("<", "\\u003c") if texts else base64.b64encode(data).decode()
    marks = " ".join(f'data-{key}="{html.escape(str(value))}"' for key, value in original.items())
    return f'<script type="application/octet-stream" class="fsm-original" data-i="{index}" {marks}>{content}</script>'


def page(path: Path, sections: Iterable[str], *, policy: bool = True, style: str = "margin:0") -> Path:
    """Write a page of galleries, under the policy of saved files."""
    policy_of = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' if policy else ""
    head = f'<meta charset="utf-8">{policy_of}<meta name="viewport" content="width=device-width"><title>Hills</title>'
    body = f'<main><h1>Hills</h1>{"".join(sections)}</main><script type="module">{SCRIPT}</script>'
    path.write_text(f'<!doctype html><html lang="en">{head}<body style="{style}">{body}</body></html>')
    return path
