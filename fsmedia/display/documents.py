"""The first page of a PDF as a picture, drawn by PDFium in a process of its own: a file may crash it or take for ever.

This module runs there as a program too: PDF on standard input; on standard output the number of pages, a line
end, a picture. It imports nothing of this package, so that the child starts quickly.
"""

from __future__ import annotations

import subprocess
import sys

SECONDS = 15.0  # longest work on one page
_MOST_MEMORY = 2 * 2**30  # of the child; set before it parses the first byte
_LONGEST_PAGE = 14_400  # points; PDF allows no longer side


def first_page(data: bytes, side: int) -> tuple[bytes, int] | str:
    """Return a picture of the first page, at most so many pixels, and the number of pages; or why there is none."""
    if not sys.executable:  # Python inside another program
        return "no process could be started to draw it"
    try:
        done = subprocess.run(  # noqa: S603 - this very file, by this very interpreter
            [sys.executable, "-P", __file__, str(side)], input=data, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"drawing its first page takes longer than {SECONDS:.0f} s"
    except OSError:
        return "no process could be started to draw it"
    head, _, image = done.stdout.partition(b"\n")
    if done.returncode or not head.isdigit() or not image:
        return "its first page can't be drawn"
    return image, int(head)


def _draw() -> None:
    import io
    from contextlib import suppress

    import pypdfium2
    from PIL import features

    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    side = int(sys.argv[1])
    document = pypdfium2.PdfDocument(sys.stdin.buffer.read())
    page = document[0]
    width, height = page.get_size()
    longest = max(width, height)
    if not 0 < longest <= _LONGEST_PAGE:
        sys.exit(1)
    file = io.BytesIO()
    picture = page.render(scale=side / longest).to_pil().convert("RGB")
    picture.save(file, "WEBP" if features.check("webp") else "PNG", quality=80)
    sys.stdout.buffer.write(f"{len(document)}\n".encode() + file.getvalue())


if __name__ == "__main__":
    _draw()
