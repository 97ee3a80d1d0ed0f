"""The page for one person: who gets in, by which names, and how it ends."""

from __future__ import annotations

import hmac
import json
import re
import signal
import socket
import sys
import webbrowser
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest

from fsmedia import MediaStore, ReadOnlyStoreError, StorageError
from fsmedia.display import decoders
from fsmedia.display.web.server import Browser
from tests.surfaces.commands import DEADLINE, started, tells
from tests.surfaces.specimens import HOSTILE, picture, put
from tests.surfaces.web import Site, served


@pytest.fixture
def store(url: str, cache_folder: Path) -> MediaStore:
    return MediaStore(url)


@pytest.fixture
def browser(store: MediaStore) -> Iterator[Browser]:
    with store.browse(open_browser=False, write=True) as found:
        yield found


def site_of(link: str) -> tuple[Site, str]:
    """Return the server of a link, and its token."""
    found = re.fullmatch(r"http://(?:127\.0\.0\.1|localhost):(\d+)/\?token=([\w-]{43})", link)
    assert found, link
    return Site(int(found[1]), "Cookie"), found[2]


def entered(link: str, more: str = "") -> Site:
    """Return a site to which a link has let in."""
    site, token = site_of(link)
    answer = site.ask(f"/?token={token}{more}")
    assert answer.status == 200, answer
    found = re.match(r"([^;]+); HttpOnly; Path=(/[\w-]{22});", answer.headers["set-cookie"])
    assert found, answer
    return site._replace(user=found[1], root=found[2])


def test_a_token_in_the_link_becomes_a_cookie_that_no_page_reads_or_sends_from_elsewhere(browser: Browser) -> None:
    site, token = site_of(browser.url)
    answer = site.ask(f"/compare?token={token}&run=a%22%3E%26b&run=c")
    assert answer.status == 200
    name, *flags = answer.headers["set-cookie"].split("; ")
    assert {each.partition("=")[0].lower() for each in flags} == {"httponly", "path", "samesite"}
    assert "SameSite=strict" in flags
    assert token not in name
    # Not a redirect, which keeps the site that it began on; and nothing of the query is markup.
    assert b"token" not in answer.body
    target = re.search(r'content="0;url=([^"]*)"', answer.body.decode())
    assert target
    user = entered(browser.url)
    assert unescape(target[1]) == f".{user.root}/compare?run=a%22%3E%26b&run=c"
    assert answer.headers["referrer-policy"] == "no-referrer"
    # Browsers send a cookie to all ports of a host: it is for a path that no other server knows.
    assert f"Path={user.root}" in flags
    assert [site.of(name).ask(path).status for path in ("/", "/api/media", user.root)] == [403] * 3
    assert user.user == name
    assert user.ask("/").status == 200
    assert user.get("/api/media")["total"] == 0


def test_nothing_is_answered_without_the_token(browser: Browser, store: MediaStore) -> None:
    reference = put(store, b"1", "text/plain")
    site, token = site_of(browser.url)
    user = entered(browser.url)
    paths = (
        "/",
        "/compare",
        "/viewer.js",
        "/api/media",
        "/nothing",
        f"/media/{quote(reference)}",
        f"/preview/{quote(reference)}",
    )
    for path in paths:
        for cookie in ("", "fsmedia=x", user.user[:-1], user.user + "x"):
            assert {site.of(cookie)._replace(root=root).ask(path).status for root in ("", user.root)} == {403}, path
    for wrong in ("", "x", token[:-1], token + "x", "%00", "\u0661"):
        assert site.ask(f"/?token={quote(wrong)}").status == 403
    assert site.ask(f"/api/media?token={token}").status == 403  # only pages take it, and give it away to nobody
    assert site.ask(f"/?token={token}", "POST").status == 403


def test_only_our_own_names_and_our_own_pages_are_answered(browser: Browser, store: MediaStore) -> None:
    reference = put(store, b"1", "text/plain")
    user, port = entered(browser.url), site_of(browser.url)[0].port
    path = f"/media/{quote(reference)}"
    for name in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost:9000", f"[::1]:{port}"):
        assert user.ask(path, Host=name).status == 200
    for name in (
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"localhost.evil.example:{port}",
        f"localhost:{port}/x",
        f"evil.example@localhost:{port}",
        "",
        "[::1",
        "a b",
    ):
        assert user.ask(path, Host=name).status in (400, 421), name
        assert site_of(browser.url)[0].ask(f"/?token={site_of(browser.url)[1]}", Host=name).status in (400, 421), name
    ours = f"http://127.0.0.1:{port}"
    assert user.ask(path, Origin=ours, Sec_Fetch_Site="same-origin").status == 200
    for origin in ("http://evil.example", f"http://127.0.0.1:{port + 1}", "null", f"http://localhost:{port}"):
        assert user.ask(path, Origin=origin).status == 403, origin
    for other in ("same-site", "cross-site"):  # another port of this machine is the same site, and gets the cookie sent
        assert user.ask(path, Sec_Fetch_Site=other).status == 403
    asked = user.ask(path, "OPTIONS", Origin=ours, Access_Control_Request_Method="POST")
    assert not [name for name in (user.ask(path).headers | asked.headers) if name.startswith("access-control")]
    # A link in another page may lead here.
    site, token = site_of(browser.url)
    assert site.ask(f"/?token={token}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


def test_writing_is_annotating_and_is_asked_for(browser: Browser, store: MediaStore) -> None:
    reference = put(store, b"1", "text/plain")
    user, body = entered(browser.url), json.dumps({"attributes": {"rating": 4}}).encode()
    path = f"/api/annotate/{quote(reference)}"
    assert user.ask(path, "POST", body).status == 403
    assert user.ask(path, "POST", body, X_Fsmedia_Write="1", Origin="http://evil.example").status == 403
    assert user.ask(path, "POST", body, X_Fsmedia_Write="1").status == 200
    assert store.info(reference).attributes == {"rating": 4}
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        assert user.ask(f"/media/{quote(reference)}", method, b"x", X_Fsmedia_Write="1").status == 405
    with store.browse(open_browser=False) as other:
        assert entered(other.url).ask(path, "POST", body, X_Fsmedia_Write="1").status == 403
    with pytest.raises(ReadOnlyStoreError):
        MediaStore(store.url, read_only=True).browse(write=True, open_browser=False)


def test_it_ends_with_its_block_and_frees_its_port(store: MediaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    with store.browse(open_browser=False) as found:
        site, token = site_of(found.url)
        with pytest.raises(StorageError, match="no page can be served at"):
            store.browse(port=site.port, open_browser=False)
        html = found._repr_html_()
        assert f'href="{found.url}"' in html
        assert "gallery(interactive=True)" not in html
    found.close()
    with pytest.raises(ConnectionRefusedError):
        site.ask("/")
    with store.browse(port=site.port, open_browser=False) as again:
        assert site.ask(f"/?token={token}").status == 403
        assert again.url != found.url


def test_the_processes_that_decode_end_with_the_page(store: MediaStore, decoding: decoders._State) -> None:
    path = f"/preview/{quote(put(store, picture(kind='TIFF'), 'image/tiff'))}"
    with store.browse(open_browser=False) as page:
        assert entered(page.url).ask(path).status == 200
        (child,) = decoding.waiting
        with pytest.raises(StorageError, match="no page can be served at") as raised:
            store.browse(port=site_of(page.url)[0].port, open_browser=False)
        assert decoding.users == 1, raised  # which keeps all that was made for it
    assert (decoding.users, decoding.waiting) == (0, [])
    assert child._process.returncode is not None
    page.close()


def test_on_a_remote_host_the_text_says_to_use_the_widget(store: MediaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.browse(open_browser=False) as found:
        monkeypatch.setattr(sys, "platform", "linux")
        for name in ("JUPYTERHUB_USER", "SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY", "JPY_SESSION_NAME"):
            monkeypatch.delenv(name, raising=False)
        # A hub says so; of Jupyter on any machine it is told where there is no screen.
        for name, is_told in (("JUPYTERHUB_USER", True), ("JPY_SESSION_NAME", True), ("DISPLAY", False)):
            monkeypatch.setenv(name, "x")
            for text in (repr(found), found._repr_html_()):
                tells(text, found.url)
                assert ("store.gallery(interactive=True)" in text) is is_told, name
            if name == "JUPYTERHUB_USER":
                monkeypatch.delenv(name)


def test_a_web_browser_is_given_a_token_for_a_single_use(store: MediaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other users of a machine see the words of a command, so they must not hold what lets in twice."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    with store.browse(open_browser=True) as found:
        (link,) = opened
        assert link != found.url
        entered(link)
        site, token = site_of(link)
        assert site.ask(f"/?token={token}").status == 403
        entered(found.url)
        entered(found.url)
        assert found.open()
        assert found.open()
        for link in opened[:0:-1]:
            assert site.ask(f"/?token={site_of(link)[1][:-1]}").status == 403
            entered(link)
            assert site.ask(f"/?token={site_of(link)[1]}").status == 403


def test_tokens_are_compared_in_a_time_that_tells_nothing(store: MediaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, compare = list[tuple[bytes, bytes]](), hmac.compare_digest
    monkeypatch.setattr(webbrowser, "open", lambda _: True)
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: compared.append(pair) or compare(*pair))
    with store.browse(open_browser=True) as found:
        site, token = site_of(found.url)
        assert site.ask("/?token=wrong").status == 403
        assert len(compared) == 2  # with that of the link, and with the single one for a single use
        assert (b"wrong", token.encode()) in compared


def test_a_store_with_a_hostile_name_is_shown_as_text(tmp_path: Path, cache_folder: Path) -> None:
    with MediaStore(tmp_path / HOSTILE.replace("/", "")).browse(open_browser=False) as found:
        assert "<script" not in found._repr_html_()
        assert "\x1b" not in repr(found)


def test_the_command_prints_the_link_first_and_ends_by_a_signal(url: str, store: MediaStore, here: Path) -> None:
    reference = put(store, b"1", "text/plain")
    for number in (signal.SIGINT, signal.SIGTERM):
        with started("browse", "--no-open", "-s", url, cwd=here, env={"FSMEDIA_CACHE": "off"}) as process:
            assert process.stdout
            user = entered(process.stdout.readline().decode().strip())
            assert user.ask(f"/media/{quote(reference)}").body == b"1"
            process.send_signal(number)
            rest, said = process.communicate(timeout=DEADLINE)
        assert (process.returncode, rest) == (0, b"")
        tells(said.decode(), "Ctrl-C ends it")
        assert b"token" not in said
    with started("browse", "-s", f"{url}-mistyped", cwd=here) as process:
        assert b"no store at" in process.communicate(timeout=DEADLINE)[1]
    assert process.returncode not in (0, None)


def test_a_mounted_application_asks_for_no_token_of_its_own(store: MediaStore) -> None:
    """`media_app` leaves who comes in to the program; `browse` to the token."""
    from fsmedia.display import media_app

    with served(media_app(store, scope=lambda _: {})) as site:
        assert site.ask("/").status == 200


def test_nobody_else_hears_it(store: MediaStore) -> None:
    with store.browse(open_browser=False) as found:
        port = site_of(found.url)[0].port
        others = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {"127.0.0.1"}
        for address in others:
            if not address.startswith("127."):
                with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
                    socket.create_connection((address, port), timeout=5)
