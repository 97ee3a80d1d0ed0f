"""The storages that importers and exporters are tested over, and results of PromptArena: its own, and of a test."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaStore
from tests.conftest import storages
from tests.golden.conftest import FOLDER
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage

MAPS = "2026-03-04T05-06-07Z-0001_openai-gpt4o_us_draw-a-map_c17944ae_0001"
AGAIN = "2026-03-04T05-06-07Z-0001_gemini-flash_us_draw-a-map_ff690d82_0002"
CALL = "2026-03-04T05-06-07Z-0001_openai-realtime_us_phone-call_544e84e1_0003"
MAP_DIGEST = "4b6ad55f126140f956c0c4bc16e062eccdcd35e00549dd6bd74169175f6572b4"
CALL_DIGEST = "661c803a5a7f4ce9afcaa75a0c029e91ddce7f441ef0820ebe7007634e88913b"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

storage = storages(LOCAL, MEMORY, S3_RCLONE, of=(S3_MOTO,))


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options)


@pytest.fixture
def memory(memory_storage: Storage) -> MediaStore:
    return MediaStore(memory_storage.url)


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
