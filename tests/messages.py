"""LLM messages with media in them, in the shapes of the APIs, and hypothesis strategies for any number of them."""

import base64
import json
from typing import Any

from hypothesis import strategies as st

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\xc0]\0\0\x80\xbb\0\0\2\0\x10\0data\0\0\0\0"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url(data: bytes, mime_type: str = "image/png") -> str:
    return f"data:{mime_type};base64,{b64(data)}"


def said(*content: dict[str, Any], role: str = "user", name: str = "content") -> dict[str, Any]:
    return {"role": role, name: list(content)}


def block(kind: str, source: str, mime_type: str, data: str) -> dict[str, Any]:
    """Return a part as Anthropic has it."""
    return {"type": kind, "source": {"type": source, "media_type": mime_type, "data": data}}


OPENAI_CHAT = {
    "model": "gpt",
    "messages": [
        {"role": "system", "content": "Be brief."},
        said(
            {"type": "text", "text": url(b"a text that is a whole URL", "text/plain")},
            {"type": "image_url", "image_url": {"url": url(PNG), "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": b64(WAV), "format": "wav"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": url(b"%PDF-1.7", "application/pdf")}},
            {"type": "file", "file": {"filename": "b.pdf", "file_data": b64(b"%PDF-1.4 b")}},
            {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
        ),
        {"role": "assistant", "content": None, "audio": {"id": "a1", "data": b64(WAV + b"1"), "transcript": "hi"}},
    ],
}
OPENAI_RESPONSES = {
    "input": [
        said(
            {"type": "input_text", "text": "draw"},
            {"type": "input_image", "image_url": url(PNG)},
            {"type": "input_file", "filename": "a.pdf", "file_data": url(b"%PDF-1.7", "application/pdf")},
        ),
        {"type": "function_call_output", "output": [{"type": "input_image", "image_url": url(PNG + b"2")}]},
    ],
    "output": [
        {"type": "image_generation_call", "id": "ig", "result": b64(PNG + b"3"), "output_format": "png"},
        {"type": "message", "content": [{"type": "output_audio", "data": b64(WAV + b"2"), "transcript": ""}]},
    ],
}
AUDIO = {"type": "input_audio", "audio": b64(bytes(range(100))), "transcript": None}
OPENAI_REALTIME = {"type": "message", "content": [AUDIO]}
OPENAI_IMAGES = {"created": 1, "data": [{"b64_json": b64(PNG)}], "output_format": "png"}
ANTHROPIC = {
    "messages": [
        said(
            block("image", "base64", "image/jpeg", b64(b"\xff\xd8\xff" + PNG)),
            block("document", "text", "text/plain", "cGxhaW4gdGV4dA=="),
            {"type": "tool_result", "tool_use_id": "t", "content": [block("image", "base64", "image/png", b64(PNG))]},
        )
    ]
}
L16 = {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": b64(bytes(range(200)))}
GEMINI = {
    "contents": [said({"text": "?"}, {"inline_data": {"mime_type": "image/png", "data": b64(PNG)}}, name="parts")],
    "candidates": [{"content": said({"inlineData": L16}, role="model", name="parts")}],
}
STORED = {"storage_reference": "out/media/runs/r/x.png", "mime_type": "image/png"}
INLINE = {"data": b64(PNG), "mime_type": "image/png", "detail": "low"}
IMAGES = [{"type": "image", "media": INLINE}, {"type": "image", "media": STORED}]
PROMPTKIT = {"Messages": [{"role": "user", "content": "", "parts": IMAGES}]}
MCP = {
    "content": [
        {"type": "image", "data": b64(PNG), "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///a", "mimeType": "image/png", "blob": b64(PNG + b"r")}},
    ]
}

DOCUMENTS = {
    "openai-chat": (OPENAI_CHAT, 6), "openai-responses": (OPENAI_RESPONSES, 5),
    "openai-realtime": (OPENAI_REALTIME, 1), "openai-images": (OPENAI_IMAGES, 1), "anthropic": (ANTHROPIC, 2),
    "gemini": (GEMINI, 2), "promptkit": (PROMPTKIT, 1), "mcp": (MCP, 2),
}  # fmt: skip
"""Name -> document, and how many media are taken out of it."""


# -- anything ----------------------------------------------------------------------------------------------------


def spellings(data: bytes) -> st.SearchStrategy[str]:
    """Spell bytes as base64, in ways that programs have and in ways that none has."""
    plain, safe = b64(data), base64.urlsafe_b64encode(data).decode()
    lines = [plain[start : start + 76] for start in range(0, len(plain), 76)]
    split = [*(end.join(lines) for end in ("\n", "\r\n")), "\n".join([*lines, ""]), "\n".join(plain)]
    split.append(plain[:3] + "\n" + plain[3:])
    ended = [plain + end for end in ("\n", "\r\n", "\n\n", "=", "*")]
    cut = [plain.rstrip("="), safe.rstrip("="), plain[:-1]]
    return st.sampled_from([plain, plain, plain, safe, " " + plain, plain.lower(), *split, *ended, *cut])


DATA = st.binary(min_size=1, max_size=300)
TEXTS = DATA.flatmap(spellings)
TYPES = st.sampled_from([
    "image/png", "image/jpg", "IMAGE/PNG", 'image/png; charset="x"', "audio/wav", "audio/pcm", "audio/pcm;rate=-1",
    "audio/L16;rate=16000", "video/mp4", "application/pdf", "text/plain", "nonsense", "", "a/b\n",
])  # fmt: skip
HEADS = st.sampled_from([
    "data:image/png;base64", "data:IMAGE/PNG;BASE64", "DATA:image/png;base64", 'data:image/png;a="b";base64',
    "data:image/png", "data:;base64", "data:image/svg+xml;charset=utf-8;base64", "data:audio/pcm;rate=8000;base64",
    "data:a#b/c;base64", "data:x;base64",
])  # fmt: skip
URLS = st.builds("{},{}".format, HEADS, TEXTS)
FORMATS, REFERENCES = st.sampled_from(["wav", "mp3", "?"]), TEXTS | URLS | st.just("runs/r/x.png")
BARE = st.one_of(
    st.builds(lambda u: {"type": "image_url", "image_url": {"url": u}}, URLS),
    st.builds(lambda u: {"type": "input_image", "image_url": u}, URLS),
    st.builds(lambda d, f: {"type": "input_audio", "input_audio": {"data": d, "format": f}}, TEXTS, FORMATS),
    st.builds(lambda d: {"type": "file", "file": {"file_data": d, "filename": "x.pdf"}}, st.one_of(URLS, TEXTS)),
    st.builds(lambda d: {"type": "image_generation_call", "result": d}, TEXTS),
    st.builds(lambda d: {"type": "output_audio", "audio": d}, TEXTS),
    st.builds(block, st.just("image"), st.sampled_from(["base64", "text"]), TYPES, TEXTS),
    st.builds(lambda d, t: {"inlineData": {"mimeType": t, "data": d}}, TEXTS, TYPES),
    st.builds(lambda d, t: {"inline_data": {"data": d, "mime_type": t}}, TEXTS, TYPES),
    st.builds(lambda d, t: {"type": "image", "media": {"data": d, "mime_type": t, "caption": "x"}}, TEXTS, TYPES),
    st.builds(lambda d, t: {"media": {"storage_reference": "a/b", "data": d, "mime_type": t}}, TEXTS, TYPES),
    st.builds(lambda d: {"media": {"storage_reference": d, "mime_type": "image/png"}}, REFERENCES),
    st.builds(lambda d: {"b64_json": d}, TEXTS),
    st.builds(lambda d, u: {"images": [d, u], "any": {"where": u, "mime": "image/png", "what": d}}, TEXTS, URLS),
)


def quoted(part: Any, plain: bool, indent: int | None) -> dict[str, Any]:
    """Return the message of a tool that gave a part as JSON text."""
    return {"role": "tool", "content": json.dumps({"é\U0001f600\n": part}, ensure_ascii=plain, indent=indent)}


IN_TEXT = st.builds(quoted, BARE, st.booleans(), st.sampled_from([None, 1]))
PARTS = st.one_of(BARE, BARE, IN_TEXT, st.builds(quoted, IN_TEXT, st.booleans(), st.just(None)))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, URLS, st.text(st.characters(codec="utf-8"), max_size=20))
NAMES = ["messages", "content", "parts", "data", "mime_type", "url", "type", "media", "audio", "input"]
KEYS = st.sampled_from(NAMES) | st.text(st.characters(codec="utf-8"), max_size=6)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS | PARTS, lambda some: st.lists(some, max_size=4) | st.dictionaries(KEYS, some, max_size=4), max_leaves=12
)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """Spell JSON in any way that is JSON: blanks, escapes, several documents, a byte order mark, odd numbers."""
    document = draw(JSON | st.lists(PARTS, min_size=1, max_size=4))
    indent = draw(st.sampled_from([None, 0, 2, "\t"]))
    separators = draw(st.sampled_from([None, (",", ":"), (" ,\r\n", " : ")]))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=indent, separators=separators)
    for plain, escaped in (("/", "\\/"), ("=", "\\u003d"), ("\\ud83d\\ude00", "\\uD83D\\uDE00")):
        if draw(st.booleans()):
            text = text.replace(plain, escaped)
    numbers = "\n[1E400, -0.0, 1.10, 12345678901234567890123, NaN]\n"
    odd = draw(st.sampled_from(["", "", "\n", numbers, '\n"\\ud800"\n', "{}", "\r\n  "]))
    return draw(st.sampled_from(["", "", "\ufeff", "  \n"])) + text + odd
