"""`MediaApp`: a store as an ASGI application, each request within the scope that the program gives it.

No handler is called without a scope, and none asks the store, its catalog or its previews for anything but what the
scope lets through. What is outside of it is answered as what does not exist.
"""

from __future__ import annotations

import hmac
import json
import logging
import weakref
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from math import ceil
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, get_args
from urllib.parse import quote

from anyio import CapacityLimiter, from_thread, to_thread
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from fsmedia.catalog.search import FACETS, CatalogSearch, CatalogState, LiveCatalog, Question, selection_of
from fsmedia.core import records
from fsmedia.core.parallel import attempt_each
from fsmedia.core.tickets import ROUTE
from fsmedia.display import decoders
from fsmedia.display.card import previews_of, request_of
from fsmedia.display.comparison import MOST_RUNS, By
from fsmedia.display.gallery import file_name_of, known_of, seen_of, title_of
from fsmedia.display.html import asset, told_of
from fsmedia.display.items import MOST_SHOWN, GalleryItem, item_of
from fsmedia.display.originals import MOST_BYTES, Original, original_of
from fsmedia.display.previewer import (
    HEAD,
    LARGEST_SIDE,
    Preview,
    PreviewCache,
    Previewer,
    Source,
    StoredSource,
    UnshowableError,
    default_folder,
    near_groups,
    picture_hashes,
)
from fsmedia.display.web.answers import KEPT, SANDBOX, bytes_answer, is_same, problem, unchanged
from fsmedia.display.web.originals import described, table_kind, table_of
from fsmedia.errors import (
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    ReadOnlyStoreError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.models import mime
from fsmedia.models.attributes import parse_value
from fsmedia.models.selection import Selection
from fsmedia.models.text import visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from starlette.types import Receive, Scope, Send

    from fsmedia.catalog.search import Facet, FoundItem
    from fsmedia.core.records import References

Handler = Callable[[Request, Selection], Response]
STATIC = {
    "app.js": "text/javascript",
    "views.js": "text/javascript",
    "viewer.js": "text/javascript",
    "viewer.css": "text/css",
    "style.css": "text/css",
}
"""Files of the front-end, in `fsmedia.display`."""
WRITE_HEADER = "x-fsmedia-write"
"""What a write must have besides a scope: pages of other origins can't send it, for nobody tells them that they may."""
SIDES = (96, 160, 256, 512, LARGEST_SIDE)
_LABELS = dict(zip(FACETS, ("Run", "Conversation", "Session", "Type", "Policy", "Provider"), strict=True))
_PICTURED = ("application/pdf", "image/svg+xml")
_DETAILS = ("sha256", "file_name", "format", "detail", "bit_rate", "channels", "fps")
_ABSENT = (MediaNotFoundError, InvalidReferenceError)
_LEAST_KEY = 32  # bytes
_LONGEST_LINK = timedelta(days=36_500)
_MOST_ITEMS = 64  # whose bytes one request may look at
_MOST_ROWS = 500
_MOST_IN_CELL = 20
_MOST_BODY = 64 * 1024
_MADE = 256  # previews after which the cache is trimmed
_AT_ONCE = {"lists": 8, "cards": 2, "previews": 6, "originals": 1, "hashes": 1, "uploads": 8}
"""Handlers that are called together: what decodes or holds whole files must not fill memory, nor take all threads."""
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_log = logging.getLogger("fsmedia")


class MediaSource(Protocol):
    """What the application needs of a store."""

    @property
    def _references(self) -> References: ...

    @property
    def _now(self) -> Callable[[], datetime]: ...

    def _check_writable(self) -> None: ...

    def annotate(self, references: str, attributes: Mapping[str, Any]) -> Any:
        """Change attributes of a media item."""

    def accept_upload(self, token: str, stream: Iterable[bytes], *, mime_type: str | None = None) -> None:
        """Take the bytes of a ticket's upload."""


class _ForbiddenError(MediaError):
    """The request has no scope, or must not write."""


class _ReferenceConvertor(PathConvertor):
    regex = "(?s:.*)"  # line ends, too


register_url_convertor("reference", _ReferenceConvertor())


class Asked(NamedTuple):
    """What a request asks of the catalog."""

    state: CatalogState
    search: CatalogSearch
    question: Question


class MediaApp:
    """A store as an ASGI application; see `fsmedia.display.media_app`."""

    def __init__(
        self,
        store: MediaSource,
        *,
        scope: Callable[[Request], Mapping[str, str] | None],
        write: bool = False,
        key: bytes | None = None,
    ) -> None:
        if not callable(scope):
            raise InvalidMediaError("scope must be a function of a request", next_step="lambda request: {} shows all")
        if key is not None and (not isinstance(key, bytes) or len(key) < _LEAST_KEY):
            step = "keep secrets.token_bytes(32) where your passwords are"
            raise InvalidMediaError(f"key must be at least {_LEAST_KEY} bytes", next_step=step)
        if write:
            store._check_writable()
        self._store, self._scope, self._write, self._key = store, scope, write, key
        self._references = references = store._references
        self._backend, self._verify = references.backend, bool(references.verify_reads)
        self._catalog = LiveCatalog(self._backend, references.settings_file, store._now)
        self._cache = cache = PreviewCache(None if self._backend.in_one_process else default_folder())
        # Each is made at once: a large one first, which perhaps nobody will see, takes eight times as long.
        self._previewers = {side: Previewer(self._backend, side, cache, largest=side) for side in SIDES}
        self._trimmed = 0
        self._limits: dict[str, CapacityLimiter] = {}
        self._last: tuple[object, Original] = None, Original()
        # Processes that decode are kept from one request to the next, by who forgets to close it until it is collected.
        children = ExitStack()
        children.enter_context(decoders.children())
        self._end_children = weakref.finalize(self, children.close)
        routes = [
            self._route("/", partial(self._page, "grid")),
            self._route("/compare", partial(self._page, "compare")),
            *(self._route(f"/{name}", partial(self._static, name)) for name in STATIC),
            self._route("/api/media", self._list, "lists"),
            self._route("/api/facets", self._facets, "lists"),
            self._route("/api/compare", self._compare, "lists"),
            self._route("/api/items", self._items, "cards"),
            self._route("/api/item/{reference:reference}", self._item, "cards"),
            self._route("/preview/{reference:reference}", self._preview, "previews"),
            self._route("/view/{reference:reference}", self._view, "originals"),
            self._route("/media/{reference:reference}", self._media, links=True),
            self._route("/api/original/{reference:reference}", self._original, "originals"),
            self._route("/api/table/{reference:reference}", self._table, "originals"),
            self._route("/api/similar/{reference:reference}", self._similar, "hashes"),
            self._route("/api/duplicates", self._duplicates, "hashes"),
            self._route("/api/annotate/{reference:reference}", self._annotate, method="POST"),
            self._route(f"/{ROUTE}/{{token}}", self._upload, "uploads", method="PUT"),
        ]
        self._app = Starlette(routes=routes, lifespan=self._lifespan)
        # A redirect would be made of the header `Host`, before anybody is asked for a scope.
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        await self._app(scope, receive, send)

    def close(self) -> None:
        """End the processes that decode, which are kept from one request to the next; may be called again.

        A server that runs this application by itself calls it when it ends, by ASGI's lifespan; an application that it
        is mounted in has to. What is asked afterwards is answered all the same, by processes that end with each answer.
        """
        self._end_children()

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await to_thread.run_sync(self.close)

    def url_for(self, reference: str, expiry: timedelta) -> str:
        """Return a link to an original, below the place where this is mounted: `/media/...?expires=...&signature=...`.

        Whoever has it can read that media until it expires, without a scope, and nothing else.

        Parameters
        ----------
        expiry
            How long it is valid, by the store's clock.

        Raises
        ------
        InvalidMediaError
            The application has no key, or the expiry is no positive timedelta of at most 100 years.
        InvalidReferenceError
            The reference is not of this store.
        """
        if not isinstance(expiry, timedelta) or not timedelta(0) < expiry <= _LONGEST_LINK:
            raise InvalidMediaError(f"expiry must be a positive timedelta of at most 100 years, not {expiry!r}")
        if self._key is None:
            raise InvalidMediaError("links are signed with a key", next_step="media_app(..., key=...)")
        key, until = self._references.key(reference), str(ceil((self._store._now() + expiry).timestamp()))
        return f"/media/{quote(key)}?expires={until}&signature={_signature(self._key, key, until)}"

    # -- how every request comes in -----------------------------------------------------------------------------------
    def _route(
        self, path: str, handler: Handler, group: str = "", *, method: str = "GET", links: bool = False
    ) -> Route:
        """Return a route to a handler, which is called in a thread with the scope of the request.

        `group`: of `_AT_ONCE`. `links`: those of `url_for` need no scope.
        """

        async def endpoint(request: Request) -> Response:
            if group and group not in self._limits:  # made by the first request: it belongs to a loop
                self._limits[group] = CapacityLimiter(_AT_ONCE[group])
            try:
                # The token of an upload is all the leave that it needs.
                scope = Selection() if method == "PUT" else await to_thread.run_sync(self._scope_of, request, links)
                if method == "POST":
                    request.state.body = await _body_of(request)
                response = await to_thread.run_sync(handler, request, scope, limiter=self._limits.get(group))
            except MediaError as error:
                response = _failed(error)
            except ClientDisconnect:
                response = problem(400, "the body broke off")
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return Route(path, endpoint, methods=[method])

    def _scope_of(self, request: Request, links: bool) -> Selection:
        """Return the selection that the program, or a signed link, lets through."""
        if links and "signature" in request.query_params:
            if not self._is_signed(request):
                raise _ForbiddenError("the link is not valid, or not any more", next_step="ask for a new one")
            return Selection()
        words = self._scope(request)
        if words is None:
            raise _ForbiddenError("nothing here is for you")
        # A user without a session must not be shown all sessions, which None would mean.
        if not isinstance(words, Mapping) or not all(isinstance(each, str) and each for each in words.values()):
            raise TypeError(f"scope must return None, or a mapping of texts that are not empty; it returned {words!r}")
        if unknown := sorted(words.keys() - {*FACETS}):
            raise TypeError(f"scope returned {unknown}; known are {', '.join(FACETS)}")
        try:
            return selection_of(words)
        except InvalidMediaError as error:  # of the program, not of who asks
            raise TypeError(f"scope returned {words!r}: {error}") from error

    def _is_signed(self, request: Request) -> bool:
        """Return whether a request comes by a link that this application gave, in its time."""
        until, signature = request.query_params.get("expires", ""), request.query_params["signature"]
        reference = keys.check_reference(request.path_params["reference"])
        if self._key is None or not (until.isascii() and until.isdigit() and len(until) <= 12):
            return False
        is_ours = is_same(signature, _signature(self._key, reference, until))
        return is_ours and self._store._now().timestamp() < int(until)

    # -- pages and lists ----------------------------------------------------------------------------------------------
    def _page(self, name: str, _request: Request, _scope: Selection) -> Response:
        nonce = token_urlsafe(16)  # not 'self': originals are of this origin, too
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; frame-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        )
        page = Markup(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark"><title>fsmedia</title>'
            '<link rel="icon" href="data:,"><link rel="stylesheet" href="style.css">'
            '<script type="module" nonce="{}" src="app.js"></script></head>'
            '<body data-page="{}" data-writes="{}"><main id="app"></main>'
            "<noscript>This page needs JavaScript.</noscript></body></html>\n"
        ).format(nonce, name, "true" if self._write else "false")
        return HTMLResponse(page, headers={"content-security-policy": policy, "cache-control": "no-store"})

    def _static(self, name: str, request: Request, _scope: Selection) -> Response:
        try:
            text = asset(name)
        except FileNotFoundError:
            raise MediaNotFoundError("no such file", key=name) from None
        headers = {**KEPT, "etag": f'"{sha256(text.encode()).hexdigest()[:32]}"'}
        return unchanged(request, headers) or Response(text, headers=headers, media_type=STATIC[name])

    def _asked(self, request: Request, scope: Selection, *own: str) -> Asked:
        """Return what a request asks of the rows in its scope; `own` are words that say something else."""
        query, own = request.query_params, (*own, "version", "refresh")
        question = Question.read(each for each in query.multi_items() if each[0] not in own and each[0][:1] != "_")
        state = self._catalog.state(query.get("version", ""), wait=query.get("refresh") == "1")
        return Asked(state, state.within(scope), question)

    def _list(self, request: Request, scope: Selection) -> Response:
        asked = self._asked(request, scope, "sort", "offset", "limit")
        numbers, size = asked.search.rows(asked.question, request.query_params.get("sort", "position"))
        shown, cut = _part(request, numbers, 100)
        # Where a program keeps its media is nothing for its users.
        root = "" if scope.asks() else visible(self._backend.url)
        told = {
            "v": 1,
            "title": visible(title_of(asked.question.selection, root or "All media"), most=300),
            "root": root,
            "now": self._store._now().timestamp(),
            "writes": self._write,
            "items": _known(_items_of(asked.search.items(shown))),
        }
        return JSONResponse({**told, **cut, **_sums(asked, len(numbers), size)})

    def _facets(self, request: Request, scope: Selection) -> Response:
        asked, query = self._asked(request, scope, "top", "facet", "find"), request.query_params
        only, find, top = query.get("facet", ""), query.get("find", ""), _number(request, "top", 50, 1, 1000)
        facets = [_told(each) for each in asked.search.facets(asked.question, top, only=only, find=find)]
        numbers, size = asked.search.rows(asked.question)
        return JSONResponse({**_sums(asked, len(numbers), size), "facets": facets})

    def _compare(self, request: Request, scope: Selection) -> Response:
        """Return what runs have at the same positions: a row for each position, a cell for each run."""
        asked, query = self._asked(request, scope, "run", "by", "offset", "limit"), request.query_params
        runs, by = list(dict.fromkeys(query.getlist("run"))), query.get("by", "message")
        if not 1 <= len(runs) <= MOST_RUNS or by not in get_args(By):
            step = "run=a&run=b&by=message, or by=conversation"
            raise InvalidMediaError(f"give 1 to {MOST_RUNS} runs", next_step=step)
        questions = [Question.read([*asked.question.asked, ("run_id", run)]) for run in runs]
        found = [asked.search.rows(each) for each in questions]
        positions = asked.search.positions([rows for rows, _ in found], conversations=by == "conversation")
        shown, cut = _part(request, positions, 50)
        counts = [[len(cell) for cell in cells] for _, cells in shown]
        shown = [(where, [cell[:_MOST_IN_CELL] for cell in cells]) for where, cells in shown]
        wanted = [number for _, cells in shown for cell in cells for number in cell]
        known = dict(zip(wanted, _known(items := _items_of(asked.search.items(wanted))), strict=True))
        digests = {number: item.record.sha256 for number, item in zip(wanted, items, strict=True)}
        told = {
            "runs": [
                {"run": run, "total": len(rows), "bytes": size} for run, (rows, size) in zip(runs, found, strict=True)
            ],
            "rows": [
                {
                    **_named(where),
                    "cells": [[known[each] for each in cell] for cell in cells],
                    "same": _same(cells, digests),
                    "counts": of,
                }
                for (where, cells), of in zip(shown, counts, strict=True)
            ],
        }
        return JSONResponse({**told, **cut, **_sums(asked, len(positions), sum(size for _, size in found))})

    # -- single media -------------------------------------------------------------------------------------------------
    def _find(self, reference: str, scope: Selection, *, with_hold: bool = False) -> GalleryItem:
        """Return a media item as it is now; one outside of the scope is not found."""
        configuration = self._references.settings_file.refresh()

        def found(key: str) -> GalleryItem:
            stored = records.find(self._backend, key, with_hold=with_hold)
            item = replace(item_of(stored.entry, stored.sidecar, configuration), held=stored.hold is not None)
            if not scope.matches(item.record):
                raise records.not_found(key)
            return item

        # Only a path below the root: URLs, which the store takes too, are nothing that a browser should know.
        return self._references.apply(keys.check_reference(reference), found)

    def _asked_for(self, request: Request, scope: Selection, *, with_hold: bool = False) -> GalleryItem:
        return self._find(request.path_params["reference"], scope, with_hold=with_hold)

    def _looked_at(self, items: list[GalleryItem]) -> list[dict[str, Any]]:
        """Return all that is known of media, and what their previews show."""
        previews = previews_of(self._backend, items, progress=False, verify_reads=self._verify, side=256)
        found = zip(_known(items), items, previews, strict=True)
        return [_with_preview(known, item, preview) for known, item, preview in found]

    def _item(self, request: Request, scope: Selection) -> Response:
        return JSONResponse(self._looked_at([self._asked_for(request, scope, with_hold=True)])[0])

    def _items(self, request: Request, scope: Selection) -> Response:
        wanted = request.query_params.getlist("ref")
        if len(wanted) > _MOST_ITEMS:
            raise InvalidMediaError(f"{len(wanted)} media are more than the {_MOST_ITEMS} that are looked at together")
        answers = attempt_each(partial(self._find, scope=scope, with_hold=True), wanted, self._backend)
        for each in answers:
            if isinstance(each, MediaError) and not isinstance(each, _ABSENT):
                raise each
        there = {place: each for place, each in enumerate(answers) if isinstance(each, GalleryItem)}
        shown = dict(zip(there, self._looked_at([*there.values()]), strict=True))
        return JSONResponse({"items": [shown.get(place) for place in range(len(wanted))]})

    def _preview(self, request: Request, scope: Selection) -> Response:
        item, side = self._asked_for(request, scope), _number(request, "side", 256, 1, 10_000)
        side = next((each for each in SIDES if each >= side), LARGEST_SIDE)
        previewer, wanted = self._previewers[side], request_of(item, verify_reads=self._verify)
        tag = sha256(repr(previewer.key(wanted, side)).encode(errors="backslashreplace")).hexdigest()[:32]
        headers = {**KEPT, **SANDBOX, "etag": f'"{tag}"'}
        if (known := unchanged(request, headers)) is not None:
            return known
        made = previewer.one(wanted)
        if (count := sum(each.made for each in self._previewers.values())) >= self._trimmed + _MADE:
            self._trimmed = count
            self._cache.trim()
        if not made.image_type:
            return problem(404, visible(made.reason, most=300) or "there is no picture of it")
        return Response(made.image, headers=headers, media_type=made.image_type)

    def _media(self, request: Request, scope: Selection) -> Response:
        item, shared = self._asked_for(request, scope), "signature" in request.query_params
        return bytes_answer(request, self._backend, item, verify=self._verify, shared=shared)

    def _similar(self, request: Request, scope: Selection) -> Response:
        """Return pictures that look like one, the nearest first: it and others of the selection."""
        asked = self._asked(request, scope, "distance", "limit")
        distance, limit = _number(request, "distance", 10, 0, 64), _number(request, "limit", 100, 1, _MOST_ROWS)
        items = [self._asked_for(request, scope), *self._pictures(asked)]
        first, *others = self._hashes(items)
        if first is None:
            raise InvalidMediaError("there is no picture of it")
        near = [
            (0, 0),
            *(
                (number, (first ^ each).bit_count())
                for number, each in enumerate(others, 1)
                if each is not None and items[number].record.reference != items[0].record.reference
            ),
        ]
        near = sorted((each for each in near if each[1] <= distance), key=lambda each: each[1])[:limit]
        known = _known([items[number] for number, _ in near])
        return JSONResponse({"items": [each | {"distance": far} for each, (_, far) in zip(known, near, strict=True)]})

    def _duplicates(self, request: Request, scope: Selection) -> Response:
        """Return groups of pictures of the selection that look alike, the largest first."""
        asked = self._asked(request, scope, "distance")
        # Groups of hashes that differ in more bits mean nothing, and take minutes.
        distance, items = _number(request, "distance", 6, 0, 16), self._pictures(asked)
        groups = near_groups(self._hashes(items), distance)
        known, total = _known(items), len(asked.search.rows(asked.question)[0])
        told = {
            "groups": [[known[number] for number in group] for group in groups],
            "looked": len(items),
            "total": total,
        }
        return JSONResponse(told)

    def _pictures(self, asked: Asked) -> list[GalleryItem]:
        """Return the first media of a selection of which there may be pictures."""
        question = Question.read(
            [*asked.question.asked, *(() if "mime_type" in asked.question.conditions else [("mime_type", "image/*")])]
        )
        return _items_of(asked.search.items(asked.search.rows(question)[0][:MOST_SHOWN]))

    def _hashes(self, items: list[GalleryItem]) -> list[int | None]:
        wanted = [request_of(each, verify_reads=self._verify) for each in items]
        return picture_hashes(self._backend, wanted)

    def _opened(self, item: GalleryItem) -> tuple[Source, Callable[[], BinaryIO]]:
        """Return the bytes of a media in two forms: by ranges, and as a file."""
        wanted = request_of(item, verify_reads=self._verify)
        source = StoredSource(self._backend, item.entry.key, item.entry.size, wanted.facts)
        return source, partial(self._references.open, item.record.reference)

    def _original(self, request: Request, scope: Selection) -> Response:
        """Return what the viewer of a page shows of an original, and the address of its bytes."""
        item = self._asked_for(request, scope)
        name, (source, opened) = quote(item.record.reference), self._opened(item)
        try:
            told = described(
                item.record,
                source,
                opened,
                lambda: self._previewers[SIDES[-1]].one(request_of(item, verify_reads=self._verify)),
            )
        except UnshowableError as error:
            return JSONResponse({"kind": "none", "why": visible(str(error))})
        if told.pop("is_shown", False):
            told["url"] = f"media/{name}"
        elif told.get("kind") == "pages":
            told["url"] = f"view/{name}?page=1"
        elif not told:
            made = self._made(item)
            told = told_of(made) | ({"url": f"view/{name}"} if made.data else {})
        return JSONResponse(
            {"name": file_name_of(item.record)} | {name: each for name, each in told.items() if each is not None}
        )

    def _made(self, item: GalleryItem) -> Original:
        """Return what is made of a media for a browser; the last one is kept, for its bytes are asked for next."""
        key = (item.record.reference, item.entry.token, item.entry.modified, item.entry.size)
        last = self._last  # once: another request may put its own there
        if last[0] != key:
            with self._references.open(item.record.reference) as file:
                last = self._last = key, original_of(file, item.record, most=MOST_BYTES)
        return last[1]

    def _view(self, request: Request, scope: Selection) -> Response:
        """Return the bytes that are made of a media: a page of a paper, or what browsers show and play in its place."""
        item = self._asked_for(request, scope)
        try:
            if "page" not in request.query_params:
                made = self._made(item)
                kind, data, why = made.type, made.data, made.why
            else:
                number, side = _number(request, "page", 1, 1, 10**6), _number(request, "side", 1600, 64, 2400)
                if item.entry.size > MOST_BYTES:
                    raise UnshowableError("it is too large: save it")
                drawn = decoders.page(self._opened(item)[0].whole(MOST_BYTES), side, number - 1)
                kind, data, why = drawn.image_type, drawn.image, ""
        except UnshowableError as error:
            kind, data, why = "", b"", str(error)
        if not data:
            return problem(404, visible(why, most=300))
        return Response(data, headers={**KEPT, **SANDBOX}, media_type=kind)

    def _table(self, request: Request, scope: Selection) -> Response:
        item = self._asked_for(request, scope)
        (source, opened), offset, limit = self._opened(item), *(_window_of(request, 200))
        try:
            kind = table_kind(item.record, source.part(0, HEAD))
            if not kind:
                raise UnshowableError("it is no table")
            return JSONResponse(table_of(source, opened, kind, offset, limit))
        except UnshowableError as error:
            return problem(404, visible(str(error)))

    def _annotate(self, request: Request, scope: Selection) -> Response:
        if not self._write or WRITE_HEADER not in request.headers:
            raise _ForbiddenError("nothing can be written here" if not self._write else f"a write has {WRITE_HEADER}")
        try:
            body = json.loads(request.state.body)
        except (ValueError, RecursionError):
            raise InvalidMediaError("the body is no JSON") from None
        if not (isinstance(body, dict) and [*body] == ["attributes"] and isinstance(body["attributes"], dict)):
            raise InvalidMediaError("the body says no attributes", next_step='{"attributes": {"rating": 4}}')
        self._store.annotate(self._asked_for(request, scope).record.reference, body["attributes"])
        self._catalog.expire()
        return JSONResponse({"item": _known([self._asked_for(request, scope, with_hold=True)])[0]})

    def _upload(self, request: Request, _scope: Selection) -> Response:
        """Take the bytes of a ticket's upload as they come."""
        # This thread waits for each piece on the loop; the last one is empty.
        pieces = iter(partial(from_thread.run, anext, aiter(request.stream()), b""), b"")
        kind = request.headers.get("content-type")
        self._store.accept_upload(request.path_params["token"], pieces, mime_type=kind)
        return Response(status_code=204)


def _signature(secret: bytes, reference: str, until: str) -> str:
    text = f"fsmedia link\n{until}\n{reference}".encode()
    return urlsafe_b64encode(hmac.digest(secret, text, "sha256")).decode().rstrip("=")


async def _body_of(request: Request) -> bytes:
    """Read a small body; InvalidMediaError for a larger one."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BODY:
            raise InvalidMediaError(f"the body is more than {_MOST_BODY:,} bytes")
    return body


def _failed(error: MediaError) -> Response:
    """Return what went wrong, but nothing of where and how the store is kept."""
    if isinstance(error, _ForbiddenError):
        return problem(403, error.problem, error.next_step)
    if isinstance(error, _ABSENT):
        return problem(404, "no such media")
    if isinstance(error, ReadOnlyStoreError):
        return problem(403, "nothing can be written here")
    if isinstance(error, StoreConflictError):
        return problem(409, error.problem)
    if isinstance(error, InvalidMediaError):
        return problem(400, visible(error.problem), visible(error.next_step))
    _log.error("a request failed: %s", error)
    return problem(500, "the store can't answer", "its log says why")


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and least <= int(text) <= most):
        raise InvalidMediaError(f"{name} must be a number from {least} to {most:,}")
    return int(text)


def _window_of(request: Request, limit: int) -> tuple[int, int]:
    """Return the first row that a request wants to see, and how many."""
    return _number(request, "offset", 0, 0, 10**11), _number(request, "limit", limit, 1, _MOST_ROWS)


def _part(request: Request, rows: Any, limit: int) -> tuple[Any, dict[str, int | None]]:
    """Return the rows that a request wants to see, and where they and the next ones begin."""
    offset, limit = _window_of(request, limit)
    end = offset + limit
    return rows[offset:end], {"offset": offset, "next": end if end < len(rows) else None}


def _sums(asked: Asked, total: int, size: int) -> dict[str, Any]:
    state = asked.state
    return {"version": state.version, "refreshed": state.refreshed_at.timestamp(), "total": total, "bytes": size}


def _items_of(found: Iterable[FoundItem]) -> list[GalleryItem]:
    return [GalleryItem(**each._asdict()) for each in found]


def _known(items: list[GalleryItem]) -> list[dict[str, Any]]:
    """Return what is known of media without a look at them, and the addresses of their pictures and originals."""
    return [known | _addresses(known["kind"], item) for known, item in zip(known_of(items), items, strict=True)]


def _addresses(kind: str, item: GalleryItem) -> dict[str, Any]:
    record, name = item.record, quote(item.record.reference)
    seen = kind in ("image", "video") or mime.essence(record.mime_type) in _PICTURED
    # The address changes with the bytes.
    mark = quote((record.sha256 or item.entry.token or "")[:16], safe="")
    facts: dict[str, Any] = {"w": record.width, "h": record.height, "seconds": record.duration}
    facts |= {"thumb": f"preview/{name}?v={mark}" if seen else None, "media": f"media/{name}"}
    return {name: value for name, value in facts.items() if value}


def _with_preview(known: dict[str, Any], item: GalleryItem, preview: Preview) -> dict[str, Any]:
    """Return an item with what its preview shows; its picture stays at an address of its own."""
    seen = seen_of(item, preview)
    thumb = seen.pop("thumb", None) and _addresses("image", item)["thumb"]
    details = {name: visible(str(value)) for name in _DETAILS if (value := getattr(item.record, name)) is not None}
    found = {name: value for name, value in known.items() if name != "thumb"} | seen
    return found | ({"thumb": thumb} if thumb else {}) | {"details": details}


def _told(facet: Facet) -> dict[str, Any]:
    """Return a facet as JSON; the `query` of a value is what asks for it."""
    attribute = facet.name.partition(".")[2] if facet.name not in _LABELS else ""

    def query(value: Any) -> str:
        if not attribute:
            return value or ""
        if value is None:
            return f"!{attribute}"
        if facet.kind in ("text", "list") or (facet.kind == "mixed" and isinstance(parse_value(value), str)):
            value = json.dumps(value.replace("*", r"\*"), ensure_ascii=False)
        return f"{attribute}={value if isinstance(value, str) else json.dumps(value)}"

    told = {
        "name": facet.name,
        "label": _LABELS.get(facet.name, attribute),
        "word": "a" if attribute else facet.name,
        "kind": facet.kind,
        "values": [
            {
                "value": value,
                "label": "none" if value is None else visible(value if isinstance(value, str) else json.dumps(value)),
                "count": count,
                "query": query(value),
            }
            for value, count in facet.values
        ],
        "others": facet.others,
    }
    return told if facet.least is None else {**told, "min": facet.least, "max": facet.most}


def _named(where: tuple[str, int, int]) -> dict[str, Any]:
    conversation, message, part = where
    name = (
        f"{f'conversation {visible(conversation, most=200)}, ' if conversation else ''}message {message}, part {part}"
    )
    return {"name": name, "conversation": conversation, "message": message, "part": part}


def _same(cells: list[list[int]], digests: Mapping[int, str | None]) -> list[list[bool]]:
    """Return of each media in each cell whether the very same bytes stand in an earlier one."""
    seen, found = set[str | None](), []
    for cell in cells:
        found.append([digests[each] is not None and digests[each] in seen for each in cell])
        seen |= {digests[each] for each in cell}
    return found
