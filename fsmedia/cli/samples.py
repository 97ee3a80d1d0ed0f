"""The sample run of `fsmedia demo`: a talk about a kitchen garden, with five media drawn on the spot.

Promises the same bytes each time on one machine (Pillow and its codecs decide them), about 400 KB in all. Touches
nothing outside memory; needs Pillow, which is imported only when the run is drawn.
"""

from __future__ import annotations

import io
import math
import random
import struct
import time
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsmedia.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_INK, _SOFT, _PAPER, _LINE = "#22302a", "#5d6f64", "#fbf8f1", "#d9d2c1"
_SOIL, _WOOD, _LEAF, _PATH = "#6b4a33", "#b98b5a", "#4f8a4c", "#e9e0cb"
_RATE = 24_000  # samples a second, as speech models write them
_CHORD = (261.63, 329.63, 392.00, 493.88)  # hertz: C E G B
_SECONDS = 2
_BEDS = (  # name, plant, colour of the fruit, rows, plants in a row, when it is sown, when it is picked (months)
    ("Tomatoes", "#d8432f", 3, 6, (3, 5), (7, 10)),
    ("Lettuce", "#8cc152", 4, 8, (3, 8), (5, 10)),
    ("Carrots", "#f08c2e", 4, 9, (4, 7), (7, 11)),
    ("Beans", "#c3cf57", 3, 7, (5, 6), (7, 9)),
    ("Beetroot", "#8e2f5c", 3, 7, (4, 6), (7, 10)),
    ("Herbs", "#5bb5a4", 3, 6, (4, 5), (5, 10)),
)
_LIST = """# Shopping list for the kitchen garden

From the plan of six beds, each 1.2 m x 2.4 m.

| What           |   How much | Why                                  |
|----------------|-----------:|--------------------------------------|
| Larch boards   | 24 x 2.4 m | edges of the beds, no varnish        |
| Compost        |     2.6 m3 | 15 cm on every bed                   |
| Tomato plants  |         18 | sow in March, plant after mid-May    |
| Lettuce seed   |      1 bag | 32 plants, a new row every two weeks |
| Carrot seed    |      1 bag | sow thinly, cover with fleece        |
| Bamboo canes   |         21 | one for each bean                    |

1. Build the beds in February, when the soil is dry enough to walk on.
2. Fill them in March and let them settle.
3. Sow by the calendar (`calendar.pdf`), two weeks later if the nights stay below 5 C.
"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One media of the sample run.

    Attributes
    ----------
    file_name
        A name a person would give it.
    mime_type
        What the bytes are.
    caption
        A sentence about it.
    message_idx, part_idx
        Where in the conversation it stands, both from 0.
    data
        The bytes.

    """

    file_name: str
    mime_type: str
    caption: str
    message_idx: int
    part_idx: int
    data: bytes


def sample_run() -> list[Sample]:
    """Draw the media of a short conversation: photo, plan, calendar, shopping list, chime.

    Raises
    ------
    MediaError
        Pillow isn't installed.

    """
    try:
        return _draw_all()
    except ImportError as error:
        raise MediaError(
            "the sample run is drawn with Pillow, which is not installed",
            next_step="pip install 'fsmedia[notebook]'",
        ) from error


def _draw_all() -> list[Sample]:
    return [
        Sample(
            file_name="evening.jpg",
            mime_type="image/jpeg",
            caption="The field behind the house at dusk: could there be a kitchen garden here?",
            message_idx=0,
            part_idx=0,
            data=_photo(),
        ),
        Sample(
            file_name="plan.png",
            mime_type="image/png",
            caption="A plan with six beds of 1.2 x 2.4 m and paths wide enough for a barrow.",
            message_idx=1,
            part_idx=0,
            data=_plan(),
        ),
        Sample(
            file_name="calendar.pdf",
            mime_type="application/pdf",
            caption="When to sow and when to pick, and what to do month by month.",
            message_idx=1,
            part_idx=1,
            data=_calendar(),
        ),
        Sample(
            file_name="shopping.md",
            mime_type="text/markdown",
            caption="What to buy before March.",
            message_idx=3,
            part_idx=0,
            data=_LIST.encode(),
        ),
        Sample(
            file_name="chime.wav",
            mime_type="audio/wav",
            caption="The chime that reminds you to water.",
            message_idx=5,
            part_idx=0,
            data=_chime(),
        ),
    ]


def _chime() -> bytes:
    """Return two seconds of a chord whose notes come one after the other and fade: WAV, mono, 16 bit."""
    samples = []
    for index in range(_RATE * _SECONDS):
        moment = index / _RATE
        value = 0.0
        for place, pitch in enumerate(_CHORD):
            since = moment - 0.14 * place
            if since > 0:
                fade = min(since * 90, 1) * math.exp(-2.2 * since)
                tone = math.sin(math.tau * pitch * since) + 0.3 * math.sin(math.tau * 2 * pitch * since)
                value += 0.19 * fade * tone
        value *= min(1.0, (_SECONDS - moment) * 8)
        samples.append(round(value * 32_767))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, _RATE, 0, "NONE", "not compressed"))
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


def _photo() -> bytes:
    """Return a landscape at dusk, 800 x 600, with the grain of a photograph: JPEG."""
    from PIL import Image, ImageChops, ImageDraw, ImageFilter

    width, height = 800, 600
    sky = Image.new("RGB", (1, 5))
    sky.putdata([(38, 52, 96), (105, 88, 140), (222, 130, 120), (250, 190, 120), (255, 226, 160)])
    picture = sky.resize((width, height), Image.Resampling.BICUBIC)
    glow = Image.new("L", (width, height))
    ImageDraw.Draw(glow).ellipse((430, 190, 690, 450), fill=190)
    glow = glow.filter(ImageFilter.GaussianBlur(60))
    picture.paste((255, 236, 190), mask=glow)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((522, 282, 598, 358), fill=(255, 246, 214))
    hills = (
        (360, 34, 150, 0.4, (122, 104, 132)),
        (410, 26, 110, 2.1, (84, 92, 104)),
        (452, 18, 190, 4.0, (52, 74, 66)),
    )
    for level, swing, length, phase, colour in hills:
        ridge = [
            (x, level + swing * math.sin(x / length + phase) + swing / 3 * math.sin(x / 31 + phase))
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], fill=colour)
    for row in range(-14, 15):  # furrows that meet at the horizon
        near, far = width / 2 + row * 92, width / 2 + row * 26
        draw.polygon([(far, 496), (far + 9, 496), (near + 40, height), (near, height)], fill=(62, 56, 44))
    picture = picture.filter(ImageFilter.GaussianBlur(1.2))
    grain = Image.frombytes("L", (width, height), random.Random(7).randbytes(width * height))  # noqa: S311 - the grain of a photograph
    grain = Image.merge("RGB", [grain.filter(ImageFilter.GaussianBlur(0.8))] * 3)
    picture = ImageChops.overlay(picture, Image.blend(Image.new("RGB", grain.size, "#808080"), grain, 0.22))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def _plan() -> bytes:
    """Return the plan of the garden, 640 x 400: PNG."""
    from PIL import Image, ImageDraw

    scale = 3  # drawn larger, then reduced: smooth edges
    picture = Image.new("RGB", (640 * scale, 400 * scale), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((28 * scale, 18 * scale), "Kitchen garden", fill=_INK, font=_font(25 * scale))
    subtitle = "six beds, 1.2 m x 2.4 m each, south at the bottom"
    draw.text((29 * scale, 51 * scale), subtitle, fill=_SOFT, font=_font(13 * scale))
    _box(draw, (24, 82, 616, 350), _PATH, scale)
    for index, (name, colour, rows, columns, _, _) in enumerate(_BEDS):
        left, top = 40 + index % 3 * 190, 96 + index // 3 * 128  # 75 points are a metre
        _box(draw, (left, top, left + 180, top + 90), _WOOD, scale)
        _box(draw, (left + 5, top + 5, left + 175, top + 85), _SOIL, scale)
        for row in range(rows):
            for column in range(columns):
                x = left + 5 + 170 * (column + 0.5) / columns
                y = top + 5 + 80 * (row + 0.5) / rows
                _dot(draw, (x, y), 7.6, _LEAF, scale)
                _dot(draw, (x, y), 4.4, colour, scale)
        draw.text(((left + 90) * scale, (top + 106) * scale), name, fill=_INK, font=_font(14 * scale), anchor="mm")
    _box(draw, (28, 374, 28 + 150, 378), _INK, scale)
    draw.text((188 * scale, 376 * scale), "2 m", fill=_INK, font=_font(13 * scale), anchor="lm")
    draw.text((612 * scale, 376 * scale), "every dot is a plant", fill=_SOFT, font=_font(13 * scale), anchor="rm")
    file = io.BytesIO()
    picture.resize((640, 400), Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return file.getvalue()


def _calendar() -> bytes:
    """Return the calendar of the garden, two pages of A4: PDF with fixed dates."""
    first = _page("When to sow, when to pick", "for six beds in a mild climate")
    _bars(first)
    second = _page("Month by month", "what a quarter of an hour a day is spent on")
    _months(second)
    moment = time.struct_time((2025, 3, 1, 8, 0, 0, 5, 60, 0))
    file = io.BytesIO()
    first.save(
        file,
        "PDF",
        save_all=True,
        append_images=[second],
        resolution=110,
        quality=80,
        title="Kitchen garden calendar",
        creationDate=moment,
        modDate=moment,
    )
    return file.getvalue()


def _page(title: str, subtitle: str) -> Image.Image:
    """Return an empty page, 910 x 1286 points of 1/110 inch, with a heading."""
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (910, 1286), "white")
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 910, 14), fill=_LEAF)
    draw.text((70, 74), title, fill=_INK, font=_font(46))
    draw.text((72, 138), subtitle, fill=_SOFT, font=_font(24))
    return page


def _bars(page: Image.Image) -> None:
    """Draw a row for each bed, with a bar for the months of sowing and one for picking."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(page)
    left, top, month, row = 252, 250, 49, 138
    bottom = top + row * len(_BEDS)
    for index, letter in enumerate("JFMAMJJASOND"):
        x = left + index * month
        draw.line((x, top, x, bottom), fill=_LINE, width=1)
        draw.text((x + month / 2, top - 24), letter, fill=_SOFT, font=_font(24), anchor="mm")
    draw.line((left + 12 * month, top, left + 12 * month, bottom), fill=_LINE, width=1)
    for index, (name, colour, _, _, sown, picked) in enumerate(_BEDS):
        y = top + index * row
        draw.line((70, y, left + 12 * month, y), fill=_LINE, width=1)
        draw.ellipse((72, y + 58, 94, y + 80), fill=colour)
        draw.text((110, y + 69), name, fill=_INK, font=_font(26), anchor="lm")
        for place, ((start, end), fill) in enumerate(((sown, _WOOD), (picked, colour))):
            high = y + 28 + place * 46
            box = (left + (start - 1) * month + 4, high, left + end * month - 4, high + 34)
            draw.rounded_rectangle(box, 17, fill=fill)
    draw.line((70, bottom, left + 12 * month, bottom), fill=_LINE, width=1)
    for x, fill, word in ((left + 4, _WOOD, "sow or plant"), (left + 274, _BEDS[0][1], "pick")):
        draw.rounded_rectangle((x, bottom + 44, x + 60, bottom + 72), 14, fill=fill)
        draw.text((x + 74, bottom + 58), word, fill=_SOFT, font=_font(22), anchor="lm")


def _months(page: Image.Image) -> None:
    """Draw a list of months and work."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(page)
    work = (
        ("February", "Build the beds. Order the seed."),
        ("March", "Fill the beds. Sow tomatoes on a window sill."),
        ("April", "Sow carrots, beetroot and the first lettuce."),
        ("May", "Plant the tomatoes out after the last frost."),
        ("June", "Tie up the beans. Water in the morning."),
        ("July", "Pick daily. Sow lettuce for the autumn."),
        ("August", "Pinch out the tomatoes above the fifth truss."),
        ("September", "Save the seed of the best beans."),
        ("October", "Lift the beetroot. Cover the soil with leaves."),
    )
    for index, (month, text) in enumerate(work):
        y = 252 + index * 102
        draw.rounded_rectangle((70, y, 250, y + 60), 14, fill=_PATH)
        draw.text((160, y + 30), month, fill=_INK, font=_font(26), anchor="mm")
        draw.text((280, y + 30), text, fill=_INK, font=_font(25), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font: no file of this machine is read."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _box(draw: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], fill: str, scale: int) -> None:
    """Fill a rectangle with round corners, measured before scaling."""
    draw.rounded_rectangle([corner * scale for corner in corners], 3 * scale, fill=fill)


def _dot(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill: str, scale: int) -> None:
    """Fill a circle, measured before scaling."""
    x, y = centre
    draw.ellipse([edge * scale for edge in (x - radius, y - radius, x + radius, y + radius)], fill=fill)
