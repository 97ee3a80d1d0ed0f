"""Pictures in spans of OpenInference's instrumentations, kept in a store by the blob uploader."""

import base64
from datetime import timedelta

import fsspec
from openinference.instrumentation import REDACTED_VALUE, BlobUploader, OITracer, TraceConfig, using_session
from openinference.instrumentation._blob_upload import Blob, is_valid_reference_uri

from fsmedia import MediaStore
from fsmedia.exchange.openinference import StoreBlobUploader
from tests.clients.children import run_installed
from tests.contract.specimens import PNG

KEY = "llm.input_messages.2.message.contents.1.message_content.image.image.url"
PICTURE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
MINUTE = timedelta(minutes=1)
PROGRAM = """
from openinference.instrumentation import TraceConfig
from openinference.instrumentation._blob_upload import Blob
uploader = TraceConfig().blob_uploader
print(type(uploader).__name__)
if uploader: print(uploader.upload(Blob(b"\\x89PNG\\r\\n\\x1a\\n", "image/png")))
"""


def traced(uploader, exported, value=PICTURE, **attributes):
    """Record a span as an instrumentation does; return it."""
    config = TraceConfig(blob_uploader=uploader, base64_image_max_length=100)
    tracer = OITracer(exported.tracers.get_tracer("program"), config=config)
    started = tracer.start_as_current_span("llm", openinference_span_kind="llm", attributes=attributes)
    with using_session("s1"), started as span:
        span.set_attribute(KEY, value)
    return exported.spans[-1]


def test_a_picture_of_a_span(storage, exported):
    uploader = StoreBlobUploader(storage.url, storage_options=storage.options)
    span = traced(uploader, exported)
    assert uploader.flush(MINUTE)
    assert [each.name for each in exported.spans] == ["llm"]
    url = span.attributes[KEY]
    assert is_valid_reference_uri(url)
    store = MediaStore(storage.url, storage_options=storage.options)
    with fsspec.open(url, **store.url_options) as file:
        assert file.read() == PNG
    record = store.info(url)
    told = (record.mime_type, record.message_idx, record.part_idx, record.run_id, record.session_id)
    assert told == ("image/png", 2, 1, f"{span.context.trace_id:032x}", "s1")
    assert traced(uploader, exported).attributes[KEY] != url  # another trace
    uploader.shutdown()
    assert isinstance(uploader, BlobUploader)


def test_what_made_a_picture_is_among_its_attributes(local_storage, exported):
    uploader = StoreBlobUploader(local_storage.url)
    said = {"llm.provider": "openai", "llm.model_name": "gpt-4o", "llm.finish_reason": "stop", "input.value": "secret"}
    url = traced(uploader, exported, **said).attributes[KEY]
    uploader.shutdown()
    record = MediaStore(local_storage.url).info(url)
    assert (record.provider_id, record.attributes) == ("openai", {"model": "gpt-4o", "finish_reason": "stop"})


def test_what_is_refused_is_redacted_and_strange_keys_are_taken(local_storage, exported, caplog):
    uploader = StoreBlobUploader(local_storage.url)
    assert traced(uploader, exported, PICTURE.replace("image/png", "image/p ng")).attributes[KEY] == REDACTED_VALUE
    uploader.shutdown()
    assert traced(uploader, exported).attributes[KEY] == REDACTED_VALUE
    assert "dropped, the sink was shut down" in caplog.text
    # Strange keys of attributes are no matter.
    uploader = StoreBlobUploader(local_storage.url)
    keys = [None, "", "a.b", f"llm.output_messages.{10**30}.message", "_messages.-1."]
    urls = [uploader.upload(Blob(PNG, "image/png", attribute_key=key)) for key in keys]
    uploader.shutdown()
    assert [MediaStore(local_storage.url).info(url).message_idx for url in urls] == [0] * len(keys)


def test_a_program_that_names_the_uploader_in_its_environment(tmp_path):
    root = str(tmp_path / "store")
    kind, url = run_installed(PROGRAM, tmp_path, FSMEDIA_URL=root, OPENINFERENCE_BLOB_UPLOADER="fsmedia").splitlines()
    assert kind == "StoreBlobUploader"
    assert MediaStore(root).retrieve_media(url).read_bytes().startswith(b"\x89PNG")
    out = run_installed(PROGRAM, tmp_path, OPENINFERENCE_BLOB_UPLOADER="fsmedia")
    assert "Failed to load blob uploader 'fsmedia'" in out
    assert out.splitlines()[-1] == "NoneType"
