"""MIME types: which extension a type has, which type a name or the first bytes show, whether both agree.

Pure: answers from tables in this file, the same on every machine and Python (`mimetypes` reads files of the machine).
Reads and writes nothing.
"""

from __future__ import annotations

import re
from itertools import chain

from pydantic_core import from_json

from fsmedia.errors import InvalidMediaError

# An entry: the standard spelling, its extensions (the first is the one we write), other spellings for the same thing.
# Extensions of PromptKit's table stay as they are: jpg png gif webp mp3 wav ogg weba mp4 webm ogv.
_TABLE = """
image/jpeg .jpg .jpeg .jpe .jfif image/jpg image/pjpeg image/x-jpeg image/x-jpg; image/png .png image/x-png
image/apng .apng image/vnd.mozilla.apng; image/gif .gif; image/webp .webp image/x-webp
image/svg+xml .svg .svgz image/svg; image/heic .heic .hif image/heic-sequence image/x-heic
image/heif .heif image/heif-sequence image/x-heif; image/avif .avif .avifs image/avif-sequence
image/bmp .bmp .dib image/x-bmp image/x-ms-bmp image/x-windows-bmp
image/tiff .tiff .tif image/tif image/x-tiff image/x-tif; image/jxl .jxl image/x-jxl
image/vnd.microsoft.icon .ico image/x-icon image/ico image/icon; image/x-icns .icns image/icns
image/jp2 .jp2 .jpx image/jpx image/jpeg2000 image/x-jp2
image/vnd.adobe.photoshop .psd image/x-photoshop image/psd application/x-photoshop; image/x-portable-pixmap .ppm
image/x-portable-graymap .pgm; image/x-portable-bitmap .pbm; image/x-portable-anymap .pnm
image/vnd.radiance .hdr image/x-hdr; image/x-exr .exr image/aces; image/x-tga .tga image/x-targa
audio/mpeg .mp3 .mp2 .mpga audio/mp3 audio/x-mp3 audio/mpeg3 audio/x-mpeg audio/x-mpeg-3 audio/mpg
audio/wav .wav .wave audio/x-wav audio/wave audio/vnd.wave audio/x-pn-wav
audio/ogg .ogg .oga .spx audio/x-ogg audio/vorbis audio/oga; audio/opus .opus audio/x-opus audio/x-opus+ogg
audio/webm .weba; audio/flac .flac audio/x-flac; audio/aac .aac .adts audio/aacp audio/x-aac audio/x-hx-aac-adts
audio/mp4 .m4a .m4b .f4a audio/x-m4a audio/m4a audio/mp4a-latm audio/x-m4b audio/m4b
audio/ac3 .ac3 audio/x-ac3 audio/a52; audio/eac3 .eac3 .ec3 audio/x-eac3
audio/aiff .aiff .aif .aifc audio/x-aiff; audio/amr .amr audio/x-amr; audio/amr-wb .awb
audio/midi .mid .midi audio/mid audio/x-midi audio/x-mid
audio/pcm .pcm audio/x-pcm audio/raw audio/x-raw audio/l16 audio/l8 audio/l20 audio/l24 audio/pcm16 audio/x-l16
audio/pcmu .ulaw audio/x-mulaw audio/mulaw audio/ulaw audio/g711-ulaw audio/x-ulaw
audio/pcma .alaw audio/x-alaw audio/alaw audio/g711-alaw; audio/basic .au .snd audio/x-au; audio/x-caf .caf audio/caf
audio/x-ms-wma .wma audio/wma; audio/3gpp .3ga; audio/x-matroska .mka audio/matroska
video/mp4 .mp4 .mp4v .f4v video/x-mp4 application/mp4; video/webm .webm; video/ogg .ogv video/x-ogg video/theora
video/quicktime .mov .qt video/mov video/x-quicktime; video/x-m4v .m4v video/m4v
video/x-matroska .mkv .mk3d video/mkv video/matroska
video/x-msvideo .avi video/avi video/vnd.avi video/msvideo
video/mpeg .mpeg .mpg .mpe .m1v .m2v video/mpg video/x-mpeg; video/mp2t .ts .m2ts video/mp2ts video/vnd.dlna.mpeg-tts
video/3gpp .3gp .3gpp video/3gp; video/3gpp2 .3g2 video/3g2 audio/3gpp2; video/x-ms-wmv .wmv video/wmv
video/x-ms-asf .asf application/vnd.ms-asf; video/x-flv .flv video/flv
application/pdf .pdf application/x-pdf; application/vnd.openxmlformats-officedocument.wordprocessingml.document .docx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet .xlsx
application/vnd.openxmlformats-officedocument.presentationml.presentation .pptx
application/vnd.ms-word.document.macroenabled.12 .docm; application/vnd.ms-excel.sheet.macroenabled.12 .xlsm
application/vnd.ms-powerpoint.presentation.macroenabled.12 .pptm; application/vnd.oasis.opendocument.text .odt
application/vnd.oasis.opendocument.spreadsheet .ods; application/vnd.oasis.opendocument.presentation .odp
application/vnd.oasis.opendocument.graphics .odg; application/epub+zip .epub; application/msword .doc
application/vnd.ms-excel .xls application/msexcel application/x-msexcel application/excel
application/vnd.ms-powerpoint .ppt application/mspowerpoint application/x-mspowerpoint
application/vnd.ms-outlook .msg; application/rtf .rtf text/rtf application/x-rtf
application/postscript .ps .eps application/eps image/x-eps; application/json .json text/json application/x-json
application/jsonl .jsonl .ndjson application/x-ndjson application/x-jsonlines application/x-jsonl application/ndjson
application/ld+json .jsonld; application/geo+json .geojson; application/x-ipynb+json .ipynb
application/xml .xml .xsd .xsl text/xml; application/xhtml+xml .xhtml
application/yaml .yaml .yml application/x-yaml text/yaml text/x-yaml text/vnd.yaml
application/toml .toml text/x-toml text/toml
text/plain .txt .text .log; text/markdown .md .markdown text/x-markdown application/markdown
text/csv .csv application/csv text/x-csv text/comma-separated-values; text/tab-separated-values .tsv text/tsv
text/html .html .htm; text/css .css; text/javascript .js .mjs application/javascript application/x-javascript
text/calendar .ics; text/vcard .vcf text/x-vcard; text/vtt .vtt; text/x-diff .diff .patch text/x-patch
text/x-python .py application/x-python text/x-script.python
application/x-sh .sh text/x-shellscript text/x-sh application/x-shellscript; application/sql .sql text/x-sql
application/x-tex .tex text/x-tex application/x-latex text/x-latex; application/x-subrip .srt text/srt
application/x-mpegurl .m3u8 application/vnd.apple.mpegurl audio/x-mpegurl audio/mpegurl
application/zip .zip application/x-zip-compressed application/x-zip multipart/x-zip
application/java-archive .jar application/x-java-archive; application/x-npz .npz
application/gzip .gz .tgz application/x-gzip application/gzip-compressed
application/x-tar .tar application/tar application/x-gtar application/x-ustar
application/x-bzip2 .bz2 application/bzip2 application/x-bzip; application/x-xz .xz application/xz
application/zstd .zst application/x-zstd; application/x-7z-compressed .7z
application/vnd.rar .rar application/x-rar-compressed application/x-rar
application/vnd.apache.parquet .parquet application/x-parquet application/parquet
application/vnd.apache.arrow.file .arrow .feather application/x-arrow application/arrow
application/vnd.apache.arrow.stream .arrows; application/avro .avro application/x-avro
application/x-npy .npy application/npy; application/x-hdf5 .h5 .hdf5 application/hdf5
application/vnd.sqlite3 .sqlite .sqlite3 application/x-sqlite3
application/msgpack .msgpack application/vnd.msgpack application/x-msgpack; application/cbor .cbor
application/ogg .ogx application/x-ogg; application/wasm .wasm; application/dicom .dcm
font/ttf .ttf application/x-font-ttf; font/otf .otf application/x-font-otf; font/woff .woff application/font-woff
font/woff2 .woff2; message/rfc822 .eml
model/gltf-binary .glb; model/gltf+json .gltf; model/stl .stl; model/obj .obj; model/vnd.usdz+zip .usdz
"""

_STANDARD: dict[str, str] = {}  # any spelling -> the standard one
_EXTENSION: dict[str, str] = {}  # any spelling -> the extension that we write
_BY_EXTENSION: dict[str, str] = {}  # extension -> standard spelling
for _standard, *_words in map(str.split, _TABLE.strip().replace(";", "\n").splitlines()):
    for _word in (_standard, *_words):
        if _word.startswith("."):
            _BY_EXTENSION[_word] = _standard
        else:
            _STANDARD[_word] = _standard
            _EXTENSION[_word] = _words[0]
_SUFFIXES = {"json": ".json", "xml": ".xml", "zip": ".zip", "gzip": ".gz", "yaml": ".yaml", "cbor": ".cbor"}  # RFC 6839

_LONGEST = 255
_PARAMETER = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # RFC 9110
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838
_VALUE = r'(?:[!#-:<-\[\]-~]+|"(?:[ !#-\[\]-~]|\\[ -~])*")'  # wider than a token: browsers write codecs=vp9,opus
_MIME = re.compile(rf"{_NAME}/{_NAME}(?: *;(?: *{_PARAMETER}={_VALUE})?)*")

_ZIP, _GZIP, _PDF, _OLE = "application/zip", "application/gzip", "application/pdf", "application/x-ole-storage"
_OCTETS = "application/octet-stream"
_ANYTHING = {_OCTETS, "binary/octet-stream", "application/binary", "application/x-binary", "application/unknown",
             "application/x-download", "application/force-download"}  # fmt: skip
_RAW = {"audio/pcm", "audio/pcmu", "audio/pcma"}  # samples without a header

_MAGIC = {  # the first 4, 3 or 2 bytes
    b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "riff", b"RF64": "riff",
    b"BW64": "riff", b"RIFX": "riff", b"%PDF": "pdf", b"OggS": "audio/ogg", b"fLaC": "audio/flac",
    b"ID3": "audio/mpeg", b"\xff\xfb": "audio/mpeg", b"\xff\xfa": "audio/mpeg", b"\xff\xf3": "audio/mpeg",
    b"\xff\xf2": "audio/mpeg", b"\xff\xf1": "audio/aac", b"\xff\xf9": "audio/aac", b"\x1aE\xdf\xa3": "ebml",
    **dict.fromkeys([b"\xff\xe2", b"\xff\xe3", b"\xff\xf4", b"\xff\xf5", b"\xff\xfc", b"\xff\xfd"], "audio/mpeg"),
    b".snd": "audio/basic", b"icns": "image/x-icns",
    b"PK\3\4": _ZIP, b"PK\5\6": _ZIP, b"PK\7\x08": _ZIP, b"\x1f\x8b\x08": _GZIP, b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff", b"II+\0": "image/tiff", b"MM\0+": "image/tiff", b"FORM": "form", b"MThd": "audio/midi",
    b"\0\0\1\0": "image/vnd.microsoft.icon", b"0&\xb2u": "video/x-ms-asf", b"\xd0\xcf\x11\xe0": _OLE, b"BM": "bmp",
    b"\0asm": "application/wasm", b"PAR1": "application/vnd.apache.parquet", b"\x93NUM": "application/x-npy",
    b"ARRO": "application/vnd.apache.arrow.file",
    b"{\\rt": "rtf", b"\x28\xb5\x2f\xfd": "application/zstd", b"8BPS": "image/vnd.adobe.photoshop",
    b"caff": "audio/x-caf", b"glTF": "model/gltf-binary", b"\x89HDF": "application/x-hdf5",
}  # fmt: skip
_CHUNKS = {  # of RIFF and FORM, at byte 8
    b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo", b"AIFF": "audio/aiff",
    b"AIFC": "audio/aiff",
}  # fmt: skip
_VERSIONED = {"pdf": (_PDF, re.compile(rb"%PDF-\d")), "rtf": ("application/rtf", re.compile(rb"\{\\rtf[\d\\]"))}
_BRANDS = {  # of an ISO media file, at byte 8; any other is taken as MP4
    b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"M4P ": "audio/mp4", b"F4A ": "audio/mp4", b"M4V ": "video/x-m4v",
    b"qt  ": "video/quicktime", b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic",
    b"heix": "image/heic", b"heim": "image/heic", b"heis": "image/heic", b"hevc": "image/heic", b"hevx": "image/heic",
    b"mif1": "image/heif", b"msf1": "image/heif", b"miaf": "image/heif", b"crx ": "image/x-canon-cr3",
}  # fmt: skip
_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof", b"sidx"}  # ISO media without a first `ftyp`
_DIB_SIZES = {12, 40, 52, 56, 64, 108, 124}
_RARE = {  # the first 3 to 16 bytes of what only `detect` needs to know
    b"7z\xbc\xaf\x27\x1c": "application/x-7z-compressed", b"Rar!\x1a\7": "application/vnd.rar",
    b"BZh": "application/x-bzip2", b"\xfd7zXZ\0": "application/x-xz", b"SQLite format 3\0": "application/vnd.sqlite3",
    b"wOFF": "font/woff", b"wOF2": "font/woff2", b"\0\1\0\0\0": "font/ttf", b"OTTO\0": "font/otf",
    b"#!AMR-WB\n": "audio/amr-wb", b"#!AMR\n": "audio/amr", b"FLV\1": "video/x-flv", b"%!PS": "application/postscript",
    b"\0\0\1\xba": "video/mpeg", b"\0\0\1\xb3": "video/mpeg", b"\0\0\0\x0cjP  ": "image/jp2",
    b"\xff\x4f\xff\x51": "image/jp2", b"\x76\x2f\x31\1": "image/x-exr", b"#?RADIANCE": "image/vnd.radiance",
    b"Obj\1": "application/avro", b"\xef\xbb\xbf%PDF-": _PDF, b"\x7fELF": "application/x-executable",
    b"!<arch>\n": "application/x-unix-archive", b"MSCF\0": "application/vnd.ms-cab-compressed",
    b"LZIP": "application/x-lzip", b'\x04"M\x18': "application/x-lz4", b"\x1f\x9d": "application/x-compress",
    b"\xed\xab\xee\xdb": "application/x-rpm", b"gimp xcf": "image/x-xcf", b"II\xbc": "image/vnd.ms-photo",
}  # fmt: skip
_LATER = {(257, b"ustar"): "application/x-tar", (128, b"DICM"): "application/dicom"}
_PORTABLE = "image/x-portable-"
_MANY = {  # what a format without a magic begins with
    # Packets of 188 bytes, Blu-ray's with 4 bytes in front.
    "video/mp2t": rb"(?:.{4})?G(?:.{187}G){2}|.{4}G(?:.{191}G){2}",
    # AC-3 by its version; rates and sizes that there are.
    "audio/ac3": rb"\x0bw..[\0-\x25\x40-\x65\x80-\xa5][\0-\x57]", "audio/eac3": rb"\x0bw...[\x58-\x87]",
    **{  # numbers as text, or as bytes after two sides
        _PORTABLE + name: rb"P(?:%d(?:[\s\d]|#[^\n]*(?:\n|\Z))+\Z|%d(?=\s)(?:\s|#[^\n]*\n)+\d+\s+\d+\s)" % two
        for name, two in {"bitmap": (1, 4), "graymap": (2, 5), "pixmap": (3, 6)}.items()
    },
    # No colour map, or one; then an origin, two sides, the depth, and two bits that must be 0.
    "image/x-tga": rb".(?:\0[\2\3\n\x0b]\0{5}|\x01[\x01\t].{4}[\x0f\x10\x18\x20]).{4}(?!\0\0)..(?!\0\0).."
    rb"[\x08\x0f\x10\x18\x20][\0-?]",
}  # fmt: skip
_PATTERNS = {kind: re.compile(pattern, re.DOTALL) for kind, pattern in _MANY.items()}
_OOXML = {
    b"word": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    b"xl": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    b"ppt": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
_OOXML_FIRST = (b"[Content_Types].xml", b"_rels/.rels", b"docProps", b"word/", b"xl/", b"ppt/")
_OOXML_PART = re.compile(rb"PK\x03\x04.{26}(word|xl|ppt)/", re.DOTALL)
_OLE_STREAMS = {
    "WordDocument": "application/msword", "PowerPoint Document": "application/vnd.ms-powerpoint",
    "Workbook": "application/vnd.ms-excel", "__substg1.0_": "application/vnd.ms-outlook",
}  # fmt: skip
_OLE_STARTS = {  # of the first stream
    b"\xec\xa5\xc1\0": "application/msword", b"\t\x08\x10\0": "application/vnd.ms-excel",
    b"\xa0F\x1d\xf0": "application/vnd.ms-powerpoint", b"\0n\x1e\xf0": "application/vnd.ms-powerpoint",
    b"\x0f\0\xe8\3": "application/vnd.ms-powerpoint",
}  # fmt: skip
_WITH_ID3 = {"audio/mpeg", "audio/aac", "audio/flac"}  # all of them may begin with an ID3 tag
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?=<)(?:[^<]|<[!?])*<(?:svg:)?svg[\s/>]")  # its first element
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?(?:(WEBVTT)(?:\s|\Z)|\s*(<\?xml)\s|\s*(?:<!--(?:(?!-->).)*-->\s*)*"
                     rb"(<!doctype\s+html|<(?:html|head|body)[\s>]))", re.IGNORECASE | re.DOTALL)  # fmt: skip
_PRESENTED = ("image/", "audio/", "video/")
_HEAD, _TEXT_HEAD = 8192, 1024  # how many bytes are looked at
_NO_CONTROL = bytes({*range(256)} - {*range(32), 127} | {*b"\t\n\f\r\x1b"})  # what UTF-8 text is made of

# Types that the first bytes can't or needn't tell apart.
_ZIPPED = ".zip .jar .npz .docx .xlsx .pptx .docm .xlsm .pptm .odt .ods .odp .odg .epub .usdz"
_FAMILIES = {
    "iso": "video/mp4 audio/mp4 video/quicktime video/x-m4v video/3gpp video/3gpp2 audio/3gpp",
    "heif": "image/heic image/heif image/avif",
    "ebml": "video/webm audio/webm video/x-matroska audio/x-matroska",
    "ogg": "audio/ogg video/ogg application/ogg audio/opus",
    "png": "image/png image/apng",
    "asf": "video/x-ms-asf video/x-ms-wmv audio/x-ms-wma",
    "ole": f"{_OLE} application/msword application/vnd.ms-excel application/vnd.ms-powerpoint "
    "application/vnd.ms-outlook",
    "zip": " ".join(_BY_EXTENSION[extension] for extension in _ZIPPED.split()),
    "text": "image/svg+xml application/json application/jsonl application/ld+json application/geo+json "
    "application/x-ipynb+json application/xml application/xhtml+xml application/yaml application/toml "
    "application/x-sh application/sql application/x-tex application/x-subrip application/x-mpegurl message/rfc822 "
    "model/gltf+json",
}  # fmt: skip
_FAMILY = {kind: family for family, kinds in _FAMILIES.items() for kind in kinds.split()}
_COMPRESSED = {_GZIP, "application/x-bzip2", "application/x-xz", "application/zstd"}
_INSIDE = {"image/svg+xml": {_GZIP}, "application/x-tar": _COMPRESSED}  # .svgz, .tar.gz: what may be wrapped how
# Formats whose bytes may be text.
_MADE_OF_TEXT = {
    _PDF, "application/rtf", "application/postscript", "image/svg+xml", "image/vnd.radiance",
    *(kind for kind in _PATTERNS if kind.startswith(_PORTABLE)),
}  # fmt: skip

# Declared as one of these, bytes without its magic are lying; of the others with a header only text is noticed.
_ALWAYS_MARKED = {
    "iso", "heif", "ebml", "ogg", "png", "zip", "image/jpeg", "image/gif", "image/webp", "image/tiff", "image/bmp",
    "image/jxl", "image/vnd.microsoft.icon", "image/vnd.adobe.photoshop", "audio/wav", "audio/flac", "audio/aiff",
    "audio/midi", "video/x-msvideo", _PDF, _GZIP, "application/x-7z-compressed", "application/vnd.rar",
    "application/vnd.apache.parquet", "application/x-npy", "application/wasm",
}  # fmt: skip


def essence(mime_type: str) -> str:
    """Return type/subtype in lower case, without parameters."""
    return mime_type.partition(";")[0].strip().lower()


def normalize(mime_type: str) -> str:
    """Return a MIME type with type/subtype in lower case and its parameters as they were written."""
    kind, _, parameters = mime_type.partition(";")
    parameters = parameters.rstrip("; \t")
    return f"{kind.strip().lower()};{parameters}" if parameters else kind.strip().lower()


def reconcile(one: str, other: str) -> str | None:
    """Return the MIME type that two statements about the same bytes mean; None if they contradict each other.

    Spellings of one type are the same; of two that are, the one with parameters says more, else the first.
    `application/octet-stream` and its like say nothing.
    """
    if essence(other) in _ANYTHING or essence(one) in _ANYTHING:
        return one if essence(other) in _ANYTHING else other
    (kind, said), (other_kind, other_said) = _parts(one), _parts(other)
    if kind != other_kind or (said and other_said and said != other_said):
        return None
    return other if other_said and not said else one


def _parts(mime_type: str) -> tuple[str, set[str]]:
    """Return the standard spelling of type/subtype, and the parameters in lower case."""
    kind, *parameters = mime_type.replace('"', "").lower().split(";")
    return _STANDARD.get(kind.strip(), kind.strip()), {each.strip() for each in parameters if each.strip()}


def check(mime_type: str) -> str:
    """Return a stranger's MIME type unchanged if it is one (RFC 6838), for it becomes an HTTP header.

    Refused is what is not ``type/subtype`` with optional ``; name=value``: over 255 characters, a wildcard, a blank
    around it, a control character anywhere.
    """
    if mime_type in _STANDARD or (len(mime_type) <= _LONGEST and _MIME.fullmatch(mime_type)):
        return mime_type
    shown = repr(mime_type if len(mime_type) <= _LONGEST else mime_type[:60] + "...")
    raise InvalidMediaError(
        f"{shown} is no MIME type",
        next_step="give type/subtype such as 'image/png' or 'text/plain; charset=utf-8', no blanks around it, at most "
        f"{_LONGEST} characters of ASCII",
    )


def extension_for(mime_type: str) -> str:
    """Return the extension (``.png``) for a MIME type in any spelling, ``.bin`` if it is unknown."""
    found = _EXTENSION.get(mime_type)
    if found is None:
        kind = essence(mime_type)
        found = _EXTENSION.get(kind) or _SUFFIXES.get(kind.rpartition("+")[2] if "+" in kind else "", ".bin")
    return found


def guess_from_name(name: str) -> str | None:
    """Return the MIME type that the extension of a name or path says, None if it says nothing (``.bin`` too)."""
    _, dot, extension = name.rpartition(".")
    return _BY_EXTENSION.get(f".{extension}".lower()) if dot else None


def guess_from_bytes(head: bytes) -> str | None:
    """Return the MIME type that the first 8 KiB show, ``text/plain`` for other text, None if they show nothing.

    Text that is JSON, JSON Lines, XML, HTML or WebVTT is told apart.
    """
    return detect(head) or (_text_type(head[:_HEAD]) if is_text(head) else None)


def _text_type(head: bytes) -> str:
    """Return the type of text by how it begins."""
    found = _MARKUP.match(head)
    if found is not None:
        return ("text/vtt", "application/xml", "text/html")[(found.lastindex or 1) - 1]
    text = head.removeprefix(b"\xef\xbb\xbf").strip()
    first, _, rest = text.partition(b"\n")
    if text[:1] in {b"{", b"["}:
        if rest.lstrip()[:1] in {b"{", b"["} and _is_json(first):
            return "application/jsonl"
        if _is_json(text, is_cut=len(head) == _HEAD):
            return "application/json"
    return "text/plain"


def _is_json(text: bytes, *, is_cut: bool = False) -> bool:
    try:
        from_json(text.decode(errors="ignore"), allow_partial=is_cut)
    except ValueError:
        return False
    return True


def is_text(head: bytes) -> bool:
    """Return whether bytes begin like UTF-8 text: no control characters but blanks, at least one byte."""
    head = head[:_TEXT_HEAD]
    if not head or head.translate(None, _NO_CONTROL):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.start > 0  # a character cut in two at the end
    return True


def detect(head: bytes) -> str | None:
    """Return the MIME type that the first 8 KiB show, in its standard spelling; None where they can't tell.

    Plain text, JSON, CSV and HTML show nothing.
    """
    head = head[:_HEAD]
    found = _signature(head)
    if found is None:
        found = _rare(head)
    elif found in {_ZIP, _OLE}:
        found = _inside(head, found) or found
    elif found == "audio/ogg" and b"theora" in head[:512]:
        found = "video/ogg"
    elif found == "audio/ogg" and head[28:36] == b"OpusHead":
        found = "audio/opus"
    if found not in _MADE_OF_TEXT and is_text(head):  # "BMW", "MZ", "GIF89a" at the start of a sentence
        found = "image/svg+xml" if _SVG.match(head) else None
    return found


def agrees(declared: str, head: bytes) -> str | None:
    """Compare a declared MIME type, in any spelling, with the first 8 KiB; None if they fit or nothing can be told.

    Else what the bytes are: a MIME type, ``text/plain`` for text under the name of a picture,
    ``application/octet-stream`` for bytes that lack the magic of the declared type.
    """
    known = _STANDARD.get(declared)
    if known is None:
        kind = essence(declared)
        known = _STANDARD.get(kind) or ("text/plain" if kind.startswith("text/") else kind)
    seen = _signature(head)
    if known == seen or not head or known in _ANYTHING:
        return None
    if known in _RAW:
        return seen if seen == "audio/wav" else None
    family = _family(known)
    if family == _family(seen) or (family == "text" and seen not in _MADE_OF_TEXT and is_text(head)):
        return None
    return _differs(known, family, head)


def _differs(known: str, family: str, head: bytes) -> str | None:
    """Finish `agrees` where a glance did not settle it."""
    seen = detect(head)
    if seen is None:
        marked = family in _ALWAYS_MARKED and known != "video/quicktime"  # old QuickTime files begin with any box
        if not marked and (known not in _STANDARD or not (family == "ole" or known.startswith(_PRESENTED))):
            return None
        if family == "text" or known.startswith(_PORTABLE) or (known == _PDF and b"%PDF-" in head[:1024]):
            return None
        return "text/plain" if is_text(head) else _OCTETS if marked else None
    same = family == _family(seen) or seen in _INSIDE.get(known, ())
    if same or (known in _WITH_ID3 and head[:3] == b"ID3"):
        return None
    if known in _STANDARD:
        return seen
    # An unknown type may well be a ZIP or a TIFF inside; only sound for a picture and the like is worth a word.
    both = known.startswith(_PRESENTED) and seen.startswith(_PRESENTED)
    return seen if both and known.startswith("image/") != seen.startswith("image/") else None


def read_as(declared: str, head: bytes) -> str | None:
    """Return the type as which bytes can be read that are declared as another: what they show; None if they lie."""
    known, seen = _parts(declared)[0], detect(head)
    if seen is None or _family(known) == _family(seen) or (known in _WITH_ID3 and head[:3] == b"ID3"):
        return seen or known
    return None


def svg_tag(head: bytes) -> bytes | None:
    """Return the attributes of the first element if that is `svg`."""
    head = _COMMENT.sub(b"", head)
    found = _SVG.match(head)
    return None if found is None else head[found.end() - 1 :].partition(b">")[0] + b">"


def _family(kind: str | None) -> str:
    """Return the name of the family of a standard spelling, or itself."""
    return _FAMILY.get(kind or "") or ("text" if (kind or "").startswith("text/") else kind or "")


def _signature(head: bytes) -> str | None:
    """Return what the magic of the common types says; quick, and trusting."""
    first = head[:4]
    found = _MAGIC.get(first) or _MAGIC.get(first[:3]) or _MAGIC.get(first[:2])
    if found is None:
        return _box(head)
    if "/" in found:
        return found
    if found in _VERSIONED:
        kind, pattern = _VERSIONED[found]
        return kind if pattern.match(head) else None
    if found in {"riff", "form"}:
        return _CHUNKS.get(head[8:12])
    if found == "ebml":
        return "video/x-matroska" if b"matroska" in head[:64] else "video/webm"
    return "image/bmp" if int.from_bytes(head[14:18], "little") in _DIB_SIZES else None


def _box(head: bytes) -> str | None:
    """Return the type of an ISO media file (MP4 and kin, HEIF) or JPEG XL by its first box."""
    box = head[4:8]
    if box == b"ftyp":
        brand = head[8:12]
        found = _BRANDS.get(brand)
        if found == "image/heif":
            others = head[16:64]
            return "image/avif" if b"avif" in others else "image/heic" if b"heic" in others else found
        return found or {b"3gp": "video/3gpp", b"3g2": "video/3gpp2"}.get(brand[:3], "video/mp4")
    if box == b"JXL " or head[:2] == b"\xff\x0a":
        return "image/jxl"
    return "video/mp4" if box in _BOXES else None


def _rare(head: bytes) -> str | None:
    """Return what the rare formats begin with."""
    if head[1:4] == b"*M\x18" and 0x50 <= head[0] <= 0x5F:
        return "application/zstd"  # a frame to skip
    found = (kind for magic, kind in _RARE.items() if head.startswith(magic))
    later = (kind for (offset, magic), kind in _LATER.items() if head.startswith(magic, offset))
    return next(chain(found, later, (kind for kind, pattern in _PATTERNS.items() if pattern.match(head))), None)


def _inside(head: bytes, found: str) -> str | None:
    """Return which document a ZIP archive or an OLE file is."""
    if found == _OLE:
        names = (kind for name, kind in _OLE_STREAMS.items() if name.encode("utf-16-le") in head)
        return next(names, _OLE_STARTS.get(head[512:516]))
    if head[30:38] == b"mimetype":
        kinds = (kind for kind in _FAMILIES["zip"].split() if head.startswith(kind.encode(), 38))
        return max(kinds, key=len, default=None)
    part = _OOXML_PART.search(head) if head.startswith(_OOXML_FIRST, 30) else None
    return None if part is None else _OOXML[part[1]]
