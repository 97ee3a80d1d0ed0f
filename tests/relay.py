"""The counting relay in front of a test server; `servers.py` runs this file as a script.

`relay.py <wire log> <port of the server> <command of the server ...>`: listens on a port of its own, starts the
command (`{url}` in it becomes the relay's address), prints that address when the server takes connections, and then
passes all bytes on unchanged. Each request is written to the wire log, as a JSON line `[method, target, copies]`,
before its first byte goes on: whoever has an answer finds the request in the log. It ends, and its server with it,
at SIGTERM or when its standard input ends, as it does when pytest dies.

It can also answer wrongly. `<wire log>.rules` holds a JSON list of rules; tests write it by `Server.answering`:

    with storage.server.answering(WrongAnswer("LIST", nth=2, body=b"<html/>")):
        ...                         # the second listing of the block is answered 200 with a page of HTML

A rule names requests (`method`, or "LIST" for what lists objects; `target`, a regular expression for the
path and query as they are decoded; `field`, the beginning of a header's line, in lower case), which of them in the
order they come (`nth`, from 1; `times`, how many of them, by default that one and all after it), and what becomes of
them:

- `body`, `status`, `headers`: the answer. The server never sees the request, unless `after` says that it did what was
  asked and only its answer is replaced.
- `change="empty"|"short"|"flipped"|"closed"`: the server's answer without its bytes, with half of them, with one bit
  of each 64th of them changed, or not at all: the connection is closed.
- `change="another MD5"`: the server's answer, with an MD5 in it, as GCS tells one, that is of other bytes.
- `change="hidden"`: the server's answer, but a 404 becomes a 403, as S3 answers to who may not list.
- `without`: fields of the request that the server does not get to see.
- `change="cut"`: half of the bytes of the server's answer, and the connection is closed before the length that it told.
- `change="hung"`: half of the bytes of the server's answer, and then nothing, until the client closes the connection.
- `change="first"`: the answer to the first request of the same target since the rule was made (a stale page).
- `change="repeated"`, only of listings: the first page again and again, each time with its own token.
- `change="hashed"|"turned"|"sorted"`, only of listings: all of them in an order of no meaning, or page by page from the
  last to the first, each page sorted in itself, or as they are; `page` keys in each.

The first rule that fits a request is taken. Rules are read again when the file changes, and then count from the start.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

HOST = "127.0.0.1"
BLOCK = 1 << 16
POLL_SECONDS = 0.02
STOP_SECONDS = 5.0
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
COPIES = {"x-amz-copy-source", "x-ms-copy-source"}
HOP_FIELDS = ("connection", "content-length", "transfer-encoding", "keep-alive")


class Request(NamedTuple):
    method: str
    target: str
    head: bytes
    fields: dict[str, str]

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def lists(self) -> bool:
        """Whether it asks for a listing of objects."""
        path = self.target.partition("?")[0]
        asks = "list-type" in self.query or self.query.get("comp") == "list"
        return self.method == "GET" and (asks or re.search(r"/b/[^/]+/o/?$", path) is not None)


class Answer(NamedTuple):
    status: str
    fields: list[tuple[str, str]]
    body: bytes

    def dump(self, method: str) -> bytes:
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.fields)]
        told = any(name.lower() == "content-length" for name, _ in self.fields)
        if not self.status.startswith("204") and not told:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else self.body)


class Rules:
    """The rules of a file, and how often each was met."""

    def __init__(self, path: str) -> None:
        self.path, self.text = path, b""
        self.rules: list[dict[str, Any]] = []
        self.met: list[int] = []
        self.firsts: dict[str, Answer] = {}

    def rule_for(self, request: Request) -> dict[str, Any] | None:
        """Return the rule for a request that has just come; None where it is passed on unchanged."""
        self.read()
        for number, rule in enumerate(self.rules):
            method = rule.get("method")
            if not (request.lists if method == "LIST" else method in (None, request.method)):
                continue
            if re.search(rule.get("target", ""), urllib.parse.unquote(request.target)) is None:
                continue
            if f"\r\n{rule.get('field', '')}".encode() not in request.head.lower():
                continue
            self.met[number] += 1
            nth, times = rule.get("nth", 1), rule.get("times")
            # What another rule than the wanted one meets is passed on, but counted.
            if self.met[number] >= nth and (times is None or self.met[number] < nth + times):
                return rule
            if rule.get("change") == "first":
                return {"change": "noted"}
            return None
        return None

    def read(self) -> None:
        text = b""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            text = file.read()
        if text != self.text:
            self.text = text
            self.rules = json.loads(text) if text else []
            self.met = [0] * len(self.rules)
            self.firsts = {}


class Relay:
    def __init__(self, wire_log: str, port: int) -> None:
        self.log = os.open(wire_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.rules = Rules(f"{wire_log}.rules")
        self.port = port
        self.ended = asyncio.Event()
        self.connections: set[asyncio.Task[None]] = set()

    async def run(self, command: list[str]) -> int:
        """Serve until told to end; return the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.ended.set)
        loop.add_reader(sys.stdin.fileno(), self._at_input)
        listener = await asyncio.start_server(self.connect, HOST, 0, limit=1 << 20, backlog=512)
        url = f"http://{HOST}:{listener.sockets[0].getsockname()[1]}"
        command = [word.replace("{url}", url) for word in command]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: ASYNC220 - once
        try:
            if not await self._answers(server):
                return 1
            print(url, flush=True)
            await self.ended.wait()
            return 0
        finally:
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client to a connection of its own to the server."""
        task = asyncio.current_task()
        self.connections.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self.connections.discard)
        with contextlib.suppress(OSError, EOFError):
            server_reader, server_writer = await asyncio.open_connection(HOST, self.port)
            answers = asyncio.create_task(pump(server_reader, writer))
            try:
                await self.requests(reader, server_writer, writer)
                server_writer.write_eof()
                await answers
            finally:
                answers.cancel()
                server_writer.close()
        writer.close()

    async def requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Pass requests on, one after the other, noting each before it leaves."""
        while head := await read_head(client):
            request = parsed(head)
            note = json.dumps([request.method, request.target, bool(COPIES & request.fields.keys())])
            os.write(self.log, note.encode() + b"\n")
            rule = self.rules.rule_for(request)
            if rule is not None:
                await self.answer_wrongly(rule, request, client, back)
                continue
            server.write(head)
            if request.fields.get("transfer-encoding", "").lower() == "chunked":
                await pass_chunks(client, server)
            else:
                await pass_bytes(client, server, int(request.fields.get("content-length", "0")))

    async def answer_wrongly(
        self, rule: dict[str, Any], request: Request, client: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        """Do what a rule says; clients send nothing more before they have an answer, so it goes back from here."""
        if request.fields.get("expect", "").lower() == "100-continue":
            back.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await read_body(client, request.fields)
        lines = request.head.split(b"\r\n")
        kept = [line for line in lines if line.split(b":")[0].decode("latin-1").lower() not in rule.get("without", ())]
        request = request._replace(head=b"\r\n".join(kept))
        answer = None
        if "body" not in rule or rule.get("after"):
            answer = await self.asked(request, body)
        if "body" in rule:
            fields = [(str(name), str(value)) for name, value in rule.get("headers", {}).items()]
            answer = Answer(f"{rule.get('status', 200)} As Told", fields, base64.b64decode(rule["body"]))
        changed = await self.changed(rule, request, answer)
        if changed is None:
            back.close()
            raise EOFError
        if rule.get("change") in ("cut", "hung"):
            back.write(changed.dump(request.method)[: -(len(changed.body) // 2) or None])
            if rule["change"] == "hung":
                await client.read()
            back.close()
            raise EOFError
        back.write(changed.dump(request.method))
        await back.drain()

    async def changed(self, rule: dict[str, Any], request: Request, answer: Answer) -> Answer | None:
        """Return what becomes of the server's answer; None: no answer at all."""
        change = rule.get("change")
        first = self.rules.firsts.setdefault(request.target, answer)
        if change == "closed":
            return None
        if change in BODIES:
            return answer._replace(body=BODIES[change](answer.body))
        if change == "first":
            return first
        if change == "hidden" and answer.status.startswith("404"):
            return Answer("403 Forbidden", [("Content-Type", "application/xml")], DENIED)
        if change in ("repeated", "hashed", "turned", "sorted"):
            return await self.relisted(rule, request)
        return answer

    async def relisted(self, rule: dict[str, Any], request: Request) -> Answer:
        """Ask the server for all of a listing, and answer with a page of it in another order."""
        query = {name: value for name, value in request.query.items() if name not in TOKENS_ASKED}
        asked = int(query.pop("max-keys", "") or query.pop("maxResults", "") or 1000)
        page_size = min(asked, rule.get("page", 1000))
        answer, items = None, []
        token: tuple[str, str] | None = None
        while answer is None or token is not None:
            words = query if token is None else {**query, token[0]: token[1]}
            target = f"{request.target.partition('?')[0]}?{urllib.parse.urlencode(words)}"
            line = b"GET %s HTTP/1.1\r\n" % target.encode("latin-1")
            # Neither server looks at the signature, which this request no longer fits.
            page = await self.asked(request._replace(head=line + request.head.partition(b"\r\n")[2]), b"")
            answer = answer or page
            found, token = taken_apart(page.body)
            items += found
        count = max(1, -(-len(items) // page_size))
        if rule["change"] == "hashed":
            items.sort(key=lambda item: hashlib.md5(item).digest())
        asked_for = next((request.query[name] for name in TOKENS_ASKED if name in request.query), "0")
        number = 0 if rule["change"] == "repeated" else int(asked_for)
        which = count - 1 - number if rule["change"] == "turned" else number
        shown = items[which * page_size : (which + 1) * page_size]
        following = str(number + 1) if number + 1 < count or rule["change"] == "repeated" else None
        return answer._replace(body=put_together(answer.body, shown, following))

    async def asked(self, request: Request, body: bytes) -> Answer:
        """Send a request to the server by a connection of its own, and return all of its answer."""
        reader, writer = await asyncio.open_connection(HOST, self.port, limit=1 << 20)
        try:
            lines = request.head.decode("latin-1").split("\r\n")
            dropped = ("", "expect", *HOP_FIELDS)
            kept = [line for line in lines[1:] if line.partition(":")[0].lower() not in dropped]
            head = "\r\n".join([lines[0], *kept, f"Content-Length: {len(body)}", "Connection: close", "", ""])
            writer.write(head.encode("latin-1") + body)
            await writer.drain()
            first, *rest = (await read_head(reader)).decode("latin-1").strip().split("\r\n")
            pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in rest)]
            fields = {name.lower(): value for name, value in pairs}
            status = first.partition(" ")[2]
            bare = request.method == "HEAD" or status.startswith(("204", "304"))
            found = b"" if bare else await read_body(reader, fields, to_end=True)
            dropped = [name for name in HOP_FIELDS if not (bare and name == "content-length")]
            return Answer(status, [pair for pair in pairs if pair[0].lower() not in dropped], found)
        finally:
            writer.close()

    async def _answers(self, server: subprocess.Popen[bytes]) -> bool:
        """Wait until the server takes connections; False if it or the relay ended first."""
        while server.poll() is None and not self.ended.is_set():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self.port)
                writer.close()
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), POLL_SECONDS)
        return False

    def _at_input(self) -> None:
        """Nothing is ever written to standard input: what there is to read is its end."""
        if not os.read(sys.stdin.fileno(), BLOCK):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.ended.set()


MD5 = re.compile(rb'("md5Hash": ?")[^"]*')
BODIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "short": lambda body: body[: len(body) // 2],
    "flipped": lambda body: bytes(byte ^ (number % 64 == 0) for number, byte in enumerate(body)),
    "another MD5": lambda body: MD5.sub(rb"\1AAAAAAAAAAAAAAAAAAAAAA==", body),
}
TOKENS_ASKED = ("continuation-token", "pageToken")
ITEM = re.compile(rb"<(?:Contents|CommonPrefixes)>.*?</(?:Contents|CommonPrefixes)>", re.DOTALL)


def taken_apart(body: bytes) -> tuple[list[bytes], tuple[str, str] | None]:
    """Return what a page, XML of S3 or JSON of GCS, lists, and what the next one is asked for with."""
    if body.startswith(b"{"):
        page = json.loads(body)
        items = [json.dumps(item).encode() for item in (*page.get("items", ()), *page.get("prefixes", ()))]
        return items, ("pageToken", page["nextPageToken"]) if page.get("nextPageToken") else None
    token = re.search(rb"<NextContinuationToken>(.*?)</NextContinuationToken>", body, re.DOTALL)
    return ITEM.findall(body), None if token is None else ("continuation-token", token[1].decode())


def put_together(body: bytes, items: list[bytes], token: str | None) -> bytes:
    """Return a page like this one that lists something else."""
    if body.startswith(b"{"):
        found, kinds = [json.loads(item) for item in items], {"items": dict, "prefixes": str}
        page = {name: [item for item in found if isinstance(item, kind)] for name, kind in kinds.items()}
        page["kind"] = json.loads(body).get("kind")
        return json.dumps({**page, "nextPageToken": token} if token else page).encode()
    body = ITEM.sub(b"", re.sub(rb"<(NextContinuationToken|KeyCount|IsTruncated)>.*?</\1>", b"", body, flags=re.DOTALL))
    added = b"<IsTruncated>%s</IsTruncated><KeyCount>%d</KeyCount>" % (b"true" if token else b"false", len(items))
    if token:
        added += b"<NextContinuationToken>%s</NextContinuationToken>" % token.encode()
    return body.replace(b"</ListBucketResult>", added + b"".join(items) + b"</ListBucketResult>")


def parsed(head: bytes) -> Request:
    """Read the first line and the fields of a request."""
    first, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Request(method, target, head, fields)


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then end the sink."""
    with contextlib.suppress(OSError):
        while block := await source.read(BLOCK):
            sink.write(block)
            await sink.drain()
    sink.close()


async def read_head(source: asyncio.StreamReader) -> bytes:
    """Return the next request's line and header fields, or nothing when the client has no more."""
    try:
        return await source.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def read_body(source: asyncio.StreamReader, fields: dict[str, str], *, to_end: bool = False) -> bytes:
    """Return a whole body; one of unknown length is read to the end of the connection where that is asked for."""
    if fields.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await source.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await source.readexactly(size + 2))[:-2]
        while await source.readuntil(b"\r\n") != b"\r\n":
            pass
        return body
    if "content-length" in fields:
        return await source.readexactly(int(fields["content-length"]))
    return await source.read() if to_end else b""


async def pass_bytes(source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: int) -> None:
    while count:
        block = await source.read(min(count, BLOCK))
        if not block:
            raise EOFError
        count -= len(block)
        sink.write(block)
        await sink.drain()


async def pass_chunks(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy a chunked body: sized chunks, one of size 0, trailers, an empty line."""
    while size := int((line := await source.readuntil(b"\r\n")).split(b";")[0], 16):
        sink.write(line)
        await pass_bytes(source, sink, size + 2)
    while line != b"\r\n":
        sink.write(line)
        line = await source.readuntil(b"\r\n")
    sink.write(line)


if __name__ == "__main__":
    sys.exit(asyncio.run(Relay(sys.argv[1], int(sys.argv[2])).run(sys.argv[3:])))
