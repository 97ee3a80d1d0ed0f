"""Results of PromptArena to import: the one that its own code left, and ones that a test writes."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

from tests.golden.conftest import FOLDER

MAPS = "2026-03-04T05-06-07Z-0001_openai-gpt4o_us_draw-a-map_c17944ae_0001"
AGAIN = "2026-03-04T05-06-07Z-0001_gemini-flash_us_draw-a-map_ff690d82_0002"
CALL = "2026-03-04T05-06-07Z-0001_openai-realtime_us_phone-call_544e84e1_0003"
MAP_DIGEST = "4b6ad55f126140f956c0c4bc16e062eccdcd35e00549dd6bd74169175f6572b4"
CALL_DIGEST = "661c803a5a7f4ce9afcaa75a0c029e91ddce7f441ef0820ebe7007634e88913b"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def real(into: Path) -> Path:
    return Path(shutil.copytree(FOLDER / "arena" / "out", into / "out"))


def part(**media: Any) -> dict[str, Any]:
    return {"type": "image", "media": {"mime_type": "image/png", **media}}


def inline(data: bytes = PNG, **media: Any) -> dict[str, Any]:
    return part(data=base64.b64encode(data).decode(), **media)


def write(folder: Path, run: Any, parts: list[Any], **result: Any) -> Path:
    """Write a result with one message of these parts."""
    folder.mkdir(parents=True, exist_ok=True)
    message = {"role": "assistant", "content": "", "parts": parts, "timestamp": "2026-03-04T05:06:08Z"}
    document = {"RunID": run, "ProviderID": "p", "Messages": [message], **result}
    file = folder / f"result-{len(list(folder.iterdir()))}.json"
    file.write_text(json.dumps(document))
    return file
