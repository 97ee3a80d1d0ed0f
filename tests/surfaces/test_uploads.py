"""Uploads by ticket where people meet them: a page in a browser that sends a file past its program, and commands."""

from __future__ import annotations

import http.server
import json
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from fsmedia import MediaMetadata, MediaStore, UploadTicket
from fsmedia.core import tickets
from fsmedia.display import media_app
from fsmedia.format import keys
from tests.storages import LOCAL, S3_MOTO, S3_SEAWEED
from tests.surfaces.commands import answers, exits, fsmedia, places, refused
from tests.surfaces.web import Site, served
from tests.uploads import KEY, PICTURE, opened, ticket_for

DATA = PICTURE + bytes(300_000)
PAGE = """<!doctype html><meta charset=utf-8><title>uploads</title><input type=file><output></output>
<script type=module>
const ask = async (path, body) => (await fetch(path, { method: "POST", body: JSON.stringify(body) })).json();
const sent = async ({ url, method, headers }, body) => (await fetch(url, { method, headers, body })).status;
document.querySelector("input").onchange = async ({ target: { files: [file] } }) => {
  const hash = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  const sha256 = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const ticket = await ask("ticket", { mime_type: file.type, size_bytes: file.size, sha256 });
  const first = await sent(ticket, file);
  const second = await sent(ticket, file);
  const { reference } = await ask("confirm", { token: ticket.token });
  document.querySelector("output").value = JSON.stringify({ first, second, reference });
};
</script>"""


class Program(http.server.ThreadingHTTPServer):
    """A program with a page; it counts the bytes of what it is sent."""

    def __init__(self, store: MediaStore) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store, self.received = store, 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Program

    def do_GET(self) -> None:
        self._answer(PAGE.encode() if self.path == "/" else b"", "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received += len(body)
        said, store = json.loads(body), self.server.store
        if self.path == "/confirm":
            answer = json.dumps({"reference": store.confirm_upload(said["token"])})
        else:
            limits: Any = {"allowed_types": "image/*", "max_bytes": 2**20}
            answer = store.upload_url(MediaMetadata(run_id="r1"), **said, **limits).model_dump_json()
        self._answer(answer.encode(), "application/json")

    def _answer(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(params=[S3_MOTO, S3_SEAWEED])
def bucket(request: pytest.FixtureRequest) -> Any:
    """Give a bucket that lets pages of other origins send; moto lets them always."""
    storage: Any = request.getfixturevalue({S3_MOTO: "moto_storage", S3_SEAWEED: "seaweed_storage"}[request.param])
    rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
    storage.server.client.put_bucket_cors(Bucket=storage.bucket, CORSConfiguration={"CORSRules": [rule]})
    return storage


@pytest.fixture(params=[False, True], ids=["plain", "deduplicated"])
def program(bucket: Any, request: pytest.FixtureRequest) -> Iterator[Program]:
    with Program(opened(bucket, deduplicate=request.param).create()) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_a_page_uploads_by_itself(browser: Any, bucket: Any, program: Program) -> None:
    page = browser.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"http://127.0.0.1:{program.server_port}/")
    with bucket.counted() as n:
        page.set_input_files("input", {"name": "a.png", "mimeType": "image/png", "buffer": DATA})
        page.wait_for_function("document.querySelector('output').value")
    said = json.loads(page.locator("output").evaluate("output => output.value"))
    page.close()
    assert (said["first"], said["second"]) == (200, 412), "what is there stays"
    record = program.store.info(said["reference"])
    assert (record.size_bytes, record.width, record.height, record.mime_type) == (len(DATA), 2, 3, "image/png")
    assert program.store.read(said["reference"]) == DATA
    assert program.received < 3_000, "the bytes of the file passed the program"
    place = keys.plain_reference(said["reference"]) or said["reference"]
    puts = [call for call in n.calls if call.method == "PUT" and call.key == f"{bucket.prefix}{place}"]
    assert len(puts) == 2, "both of the browser"


def test_a_page_uploads_through_media_app_where_the_storage_has_no_urls(browser: Any, local_storage: Any) -> None:
    store = opened(local_storage)

    async def ticket(request: Request) -> Response:
        made = await run_in_threadpool(store.upload_url, MediaMetadata(run_id="r1"), **await request.json())
        return JSONResponse({**made.model_dump(mode="json"), "url": f"files/{made.url}"})

    async def confirm(request: Request) -> Response:
        token = (await request.json())["token"]
        return JSONResponse({"reference": await run_in_threadpool(store.confirm_upload, token)})

    files = media_app(store, scope=lambda _: None)
    routes = [Route("/", lambda _: HTMLResponse(PAGE)), Mount("/files", files)]
    routes += [Route(f"/{each.__name__}", each, methods=["POST"]) for each in (ticket, confirm)]
    with served(Starlette(routes=routes)) as site:
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.goto(f"http://127.0.0.1:{site.port}/")
        page.set_input_files("input", {"name": "a.png", "mimeType": "image/png", "buffer": DATA})
        page.wait_for_function("document.querySelector('output').value")
        said = json.loads(page.locator("output").evaluate("output => output.value"))
        page.close()
        assert (said["first"], said["second"]) == (204, 409)
        assert store.read(said["reference"]) == DATA
        made = ticket_for(store, DATA)
        wrong = {"text/html": DATA, "image/png": DATA[:-1]}
        for kind, data in wrong.items():
            answer = site.ask(f"/files/{made.url}", "PUT", data, Content_Type=kind, Content_Length=str(len(data)))
            assert answer.status == 400
            assert local_storage.url not in answer.body.decode()
        refused = site.ask("/files/upload/x.y", "PUT", b"a", Content_Length="1")
        assert refused.status == 400
        with socket.create_connection(("127.0.0.1", site.port)) as broken:
            head = f"PUT /files/{made.url} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
            broken.sendall(head.encode() + DATA[:1000])
        assert is_taken_by(site, made), "what broke off, or was refused, has left nothing"
    assert not [key for key in sorted(local_storage.keys()) if ".tmp-" in key]
    assert store.read(store.confirm_upload(made.token)) == DATA


def test_what_media_app_does_not_take_tells_nothing_of_the_store(local_storage: Any, memory_storage: Any) -> None:
    """Strangers send it, and the log is not theirs to fill."""
    foreign, own = ticket_for(opened(memory_storage)), ticket_for(opened(local_storage))
    for settings, made, status in (({}, foreign, 400), ({"read_only": True}, own, 403)):
        with served(media_app(opened(local_storage, **settings), scope=lambda _: None)) as site:
            answer = site.ask(f"/{made.url}", "PUT", DATA, Content_Type="image/png", Content_Length=str(len(DATA)))
            assert (answer.status, local_storage.url in answer.body.decode()) == (status, False)


def is_taken_by(site: Site, ticket: UploadTicket) -> bool:
    words = {"Content_Type": "image/png", "Content_Length": str(len(DATA))}
    return site.ask(f"/files/{ticket.url}", "PUT", DATA, **words).status == 204


# -- the commands ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", [False, True])
def test_the_commands_that_are_printed_work_when_they_are_pasted(
    moto_storage: Any, here: Path, form: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tickets.KEY_VARIABLE, KEY)
    name = 'a "b" [1-2]{c,d}.png'
    Path(name).write_bytes(DATA)
    words = ["--run", "r1", "--message", "2", "-a", "model=m", *(["--form"] if form else [])]
    printed = exits(0, "upload-url", name, *words, *places(moto_storage))
    upload, confirm = printed.stdout.splitlines()
    assert printed.stderr == ""
    assert confirm.endswith(f" --store {moto_storage.url}")
    subprocess.run(shlex.split(upload), check=True, capture_output=True)
    options = places(moto_storage)[2:]
    reference = exits(0, *shlex.split(confirm)[1:], *options).stdout.strip()
    (record,) = answers(*shlex.split(confirm)[1:], *options)
    assert (record["reference"], record["message_idx"], record["attributes"]) == (reference, 2, {"model": "m"})
    assert opened(moto_storage).read(reference) == DATA


def test_a_ticket_for_a_file_that_is_elsewhere(local_storage: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = places(local_storage)
    told = ["--size", "2080", "--mime", "image/png", "--run", "r1"]
    assert "FSMEDIA_TICKET_KEY" in refused(fsmedia("upload-url", *told, *at), 1)
    monkeypatch.setenv(tickets.KEY_VARIABLE, KEY)
    (ticket,) = answers("upload-url", *told, "--expires", "5m", *at)
    assert ticket["url"] == f"upload/{ticket['token']}", "a folder has no URLs"
    assert "--mime" in refused(fsmedia("upload-url", "--size", "1", "--run", "r1", *at), 2)
    assert "put that address in front of it" in exits(0, "upload-url", *told, *at).stderr
    Path("here.png").write_bytes(DATA)
    assert "relative" in exits(0, "upload-url", "here.png", "--run", "r1", *at).stderr
    for option, text in {"--size": "1", "--sha256": "0" * 64}.items():
        said = fsmedia("upload-url", "here.png", option, text, "--run", "r1", *at)
        assert f"{option} is for a file elsewhere: here.png" in refused(said, 2)
    assert "leave method out (--form)" in refused(fsmedia("upload-url", "here.png", "--form", "--run", "r1", *at), 1)
    assert "is a folder" in refused(fsmedia("upload-url", ".", "--run", "r1", *at), 2)
    assert "no such file" in refused(fsmedia("upload-url", "nothing.png", "--run", "r1", *at), 3)
    assert "--run" in refused(fsmedia("upload-url", *told[:4], *at), 2)
    assert "quarter" in refused(fsmedia("upload-url", *told, "--expires", "7h", *at), 1)
    assert "nothing was uploaded" in refused(fsmedia("confirm-upload", ticket["token"], *at), 3)
    assert KEY not in refused(fsmedia("confirm-upload", f"{ticket['token']}x", *at), 1)
    assert local_storage.name == LOCAL
