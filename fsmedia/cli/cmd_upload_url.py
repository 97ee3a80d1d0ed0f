"""`fsmedia upload-url`: make a ticket by which others upload a file to its place in the store."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import hashlib
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.core.tickets import EXPIRY, Method, UploadTicket
from fsmedia.models import MediaContent, MediaMetadata

HELP = """Prints two commands: one for who has the file, which sends it straight to S3, GCS or Azure, and one that then
makes a media of it. With a FILE its size, type and digest are taken from that; else they are told, for a file that is
somewhere else. Whoever has the URL can upload that file until it expires, once: treat it as a password.

The key that signs tickets is $FSMEDIA_TICKET_KEY, the same for both commands. Nothing is kept: what is never confirmed
goes as a leftover. Other storages take no uploads by themselves: there the URL is relative to where a program of yours
mounts fsmedia.display.media_app over the store, whose address you put in front of it.

Examples:
  export FSMEDIA_TICKET_KEY=$(python -c 'import secrets; print(secrets.token_urlsafe(32))')
  fsmedia upload-url film.mp4 --run r1 --store s3://bucket/media
  fsmedia upload-url --size 48213 --mime image/png --run r1 --json | jq '{url, method, headers}'
"""


def upload_url(
    *,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Take size, type and digest from it.")] = None,
    ids: app.Ids,
    size: Annotated[int | None, typer.Option(min=0, metavar="BYTES", help="Its size; without a FILE.")] = None,
    mime_type: Annotated[str | None, typer.Option("--mime", metavar="TYPE", help="Its MIME type.")] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Its SHA-256; without a FILE. A deduplicated store needs it.")
    ] = None,
    message: Annotated[int, typer.Option(min=0, metavar="N", help="Which message, from 0.")] = 0,
    part: Annotated[int, typer.Option(min=0, metavar="N", help="Which part of it, from 0.")] = 0,
    policy: app.PolicyName = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", metavar="NAME=VALUE", help="What made it; repeatable.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="For how long the upload may begin; else 15m.")
    ] = None,
    form: Annotated[bool, typer.Option("--form", help="A form with a policy in place of a PUT; S3 only.")] = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Print a ticket."""
    lifetime = EXPIRY if expires is None else app.parse_duration(expires, "--expires")
    attributes = app.parse_attributes(attribute, "--attribute")
    if file is not None:
        for option, given in (("--size", size), ("--sha256", sha256)):
            if given is not None:
                raise app.CommandError(f"{option} is for a file elsewhere: {file} tells its own", code=app.USAGE)
        if file.is_dir():
            raise app.CommandError(f"{file}: is a folder; a ticket is for one file", code=app.USAGE)
        if not file.is_file():
            raise app.CommandError(f"{file}: no such file", code=app.NOT_FOUND)
        content = MediaContent.from_path(file)
        size, mime_type = file.stat().st_size, mime_type or content.mime_type
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    if size is None or mime_type is None:
        raise app.CommandError("name a FILE, or tell --size and --mime of one", code=app.USAGE)
    with location.open() as store:
        app.require_id(store, ids)
        metadata = MediaMetadata(**ids, message_idx=message, part_idx=part, policy_name=policy, attributes=attributes)
        method: Method = "POST" if form else "PUT"
        what: Any = {"mime_type": mime_type, "size_bytes": size, "sha256": sha256}
        ticket = store.upload_url(metadata, **what, expiry=lifetime, method=method)
    if "://" not in ticket.url:
        output.note(
            f"{store.url} takes no uploads by itself: the URL is relative to where a program of yours mounts "
            "fsmedia.display.media_app over this store; put that address in front of it"
        )
    if as_json:
        output.json_line(ticket.model_dump(mode="json"))
        return
    output.line(_command(ticket, "./-" if file == Path("-") else str(file or "FILE")))
    output.line(shlex.join(["fsmedia", "confirm-upload", ticket.token, "--store", store.url]))


def _command(ticket: UploadTicket, file: str) -> str:
    """Return a command for a shell that uploads the file."""
    words = ["curl", "--globoff", "--fail-with-body", "--silent", "--show-error"]
    for name, text in ticket.headers.items():
        words += ["--header", f"{name}: {text}"]
    if ticket.method == "PUT":
        words += ["--upload-file", file]
    for name, text in ticket.fields.items():
        words += ["--form-string", f"{name}={text}"]
    if ticket.method == "POST":
        quoted = file.replace("\\", "\\\\").replace('"', '\\"')
        words += ["--form", f'file=@"{quoted}"']
    return shlex.join([*words, ticket.url])
