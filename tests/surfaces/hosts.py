"""Where galleries are looked at: Debian's Chromium, and in it JupyterLab and Notebook 7.

Without a browser its tests skip and say so, unless `FSMEDIA_REQUIRE_BROWSER` is set, as `.ci/run` does: then they fail.
One server has both hosts. It knows nothing of the machine's settings, and keeps its own in a temporary folder.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Never, Self

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from tests.surfaces.commands import ROOT

REQUIRED, AXE = "FSMEDIA_REQUIRE_BROWSER", "FSMEDIA_AXE"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip

HOST = "127.0.0.1"
START_SECONDS = 60.0
LAB, NOTEBOOK = "lab/tree", "notebooks"
"""The two hosts, by where they open a file."""
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
THEIRS = ("(reading 'schema')", "'filebrowser:open-path' not registered")
"""Errors that Notebook 7.6 has by itself, with any notebook."""

READY = """() => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  return panel?.context?.isReady && panel.sessionContext?.session?.kernel?.status === "idle";
}"""
DONE = "() => ![...document.querySelectorAll('.jp-InputPrompt')].some((prompt) => prompt.textContent === '[*]:')"
ASKED = """async (code) => {
  const asked = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
  let told = "";
  asked.onIOPub = ({ content }) => { told += content.text ?? content.evalue ?? ""; };
  await asked.done;
  return told;
}"""
STRANGERS = """{
  const { get, set } = Object.getOwnPropertyDescriptor(Document.prototype, "title");
  Object.defineProperty(document, "title", { configurable: true, get, set(title) {
    if (title === "ran") top.ran = true;
    set.call(document, title);
  } });
}"""
"""Runs before all else in a page and its frames: hostile specimens set the title, and hosts set it again."""


def missing(what: str) -> Never:
    """Skip, or fail where what is missing is required."""
    if os.environ.get(REQUIRED):
        pytest.fail(what)
    pytest.skip(what)


def chromium() -> Iterator[Any]:
    """Give a browser."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing(f"no browser on this machine ({', '.join(NAMES)}): install Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def violations(page: Any, scope: str | None = None) -> list[str]:
    """Return what axe-core finds against WCAG 2 A and AA in a page, or in one element of it."""
    path = os.environ.get(AXE)
    if not path:
        missing(f"no axe-core: npm pack axe-core, unpack it, {AXE}=.../package/axe.min.js")
    if not page.evaluate("'axe' in window"):
        page.evaluate(Path(path).read_text(encoding="utf-8"))
    # Without a list of what is right, which is most of the page and takes half of the time.
    found = page.evaluate(
        """(scope) => axe.run(scope ?? document, {
            runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], reporter: 'no-passes' })""",
        scope,
    )
    return [
        f"{each['id']} ({each['help']}): {' '.join(map(str, node['target']))} {node['html'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


class Shadow:
    """The shadow root of the first element that fits a selector; expressions have it as `root`."""

    def __init__(self, host: str) -> None:
        self._root = f"const root = document.querySelector({json.dumps(host)}).shadowRoot;"

    def evaluated(self, page: Any, code: str) -> Any:
        """Return what an expression gives."""
        return page.evaluate(f"() => {{ {self._root} return {code} }}")

    def until(self, page: Any, code: str) -> None:
        """Wait for an expression; Playwright's own waiting evaluates texts, which the policies of pages forbid."""
        page.evaluate(
            f"""() => new Promise((resolve, reject) => {{
              {self._root}
              const end = performance.now() + 30_000;
              const check = () => {{
                if ({code}) resolve();
                else if (performance.now() > end) reject(new Error("it never came"));
                else requestAnimationFrame(check);
              }};
              check();
            }})"""
        )


class Visit:
    """A notebook in a host: its page, and what a reader does with the whole of it."""

    def __init__(self, page: Any, address: str, ours: tuple[str, ...]) -> None:
        self.page, self._address = page, address
        self.wrong: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(ours) else self.elsewhere.append(asked.url))

    def load(self) -> None:
        """Load the page, or load it again, and return when its kernel is there."""
        self.page.goto(self._address)
        self.page.wait_for_function(READY)

    def check(self) -> None:
        """Nothing was asked for elsewhere, nothing failed, no stranger's code ran."""
        assert self.elsewhere == []
        assert [each for each in self.wrong if not any(said in each for said in THEIRS)] == []
        assert self.page.evaluate("window.ran") is None

    def command(self, name: str, **words: Any) -> None:
        self.page.evaluate("([name, words]) => window.jupyterapp.commands.execute(name, words)", [name, words])

    def run(self) -> None:
        """Run all cells; return when they have run."""
        self.command("notebook:run-all-cells")
        self.page.wait_for_function(DONE)

    def outputs(self, cell: int) -> Any:
        """Return the outputs of a cell, as a locator."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")

    def cells(self) -> list[str]:
        cells = "window.jupyterapp.shell.currentWidget.content.widgets"
        return list(self.page.evaluate(f"{cells}.map((cell) => cell.model.type + cell.model.sharedModel.source)"))

    def asked(self, code: str) -> str:
        """Run code in the kernel of the notebook, and return what it prints."""
        return str(self.page.evaluate(ASKED, code))

    def wait(self, expression: str, value: str) -> None:
        """Wait until an expression in the kernel is printed as a value: what widgets are told it hears in a thread."""
        self.page.wait_for_function(
            f"async ([code, value]) => (await ({ASKED})(code)).trim() === value", arg=[f"print({expression})", value]
        )


class Jupyter:
    """A server of JupyterLab and Notebook 7 on a free port of its own; `folder` is what it shows."""

    def start(self) -> Self:
        """Start it, and return when it answers; a RuntimeError that it does not ends with its log."""
        self._home = Path(tempfile.mkdtemp(prefix="fsmedia-jupyter-"))
        self.folder = self._home / "files"
        self.folder.mkdir()
        for name, values in SETTINGS.items():
            path = self._home / "config/lab/user-settings/@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(values))
        with socket.socket() as free:
            free.bind((HOST, 0))
            port = free.getsockname()[1]
        self.url, self._token = f"http://{HOST}:{port}/", secrets.token_hex(16)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "AWS_"))},
            "HOME": str(self._home),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            **{f"JUPYTER_{name.upper()}_DIR": str(self._home / name) for name in ("config", "data", "runtime")},
            "IPYTHONDIR": str(self._home / "ipython"),
        }
        words = [
            f"--ServerApp.ip={HOST}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.folder}", f"--IdentityProvider.token={self._token}",
            "--no-browser", "--allow-root", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly",
            "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
            "--LanguageServerManager.autodetect=False",
        ]  # fmt: skip
        log = self._home / "server.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *words], cwd=self.folder, env=environment, stdout=file, stderr=file
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
            if self._process.returncode is not None or time.monotonic() > deadline:
                said = log.read_text()[-3000:]
                self.stop()
                raise RuntimeError(f"JupyterLab does not start:\n{said}")
        return self

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def write(self, name: str, *cells: str) -> Path:
        """Write a notebook that nobody has run."""
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
        made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, self.folder / name)
        return self.folder / name

    def copied(self, path: Path, name: str, *, trusted: bool) -> Path:
        """Copy a notebook that was run here; a stranger's is another text than was signed."""
        made = nbformat.read(path, 4)
        if not trusted:
            made.metadata.came = "by mail"
        nbformat.write(made, self.folder / name)
        return self.folder / name

    @contextmanager
    def opened(self, browser: Any, host: str, path: Path, **options: Any) -> Iterator[Visit]:
        """Open a notebook with a new kernel, and check at the end what must hold wherever it is read."""
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        context.set_default_timeout(60_000)
        context.add_init_script(STRANGERS)
        place = str(path.relative_to(self.folder))
        # `reset`: JupyterLab would open what any page had open, and in front of it.
        address = f"{self.url}{host}/{place}?reset&token={self._token}"
        visit = Visit(context.new_page(), address, (self.url, self.url.replace("http", "ws"), "data:", "blob:"))
        try:
            visit.load()
            yield visit
            visit.check()
        finally:
            context.close()
            with self._ask("GET", "api/sessions") as answer:
                sessions = [each["id"] for each in json.load(answer) if each["path"] == place]
            for session in sessions:
                self._ask("DELETE", f"api/sessions/{session}").close()

    def _answers(self) -> bool:
        try:
            self._ask("GET", "api").close()
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"token {self._token}"}
        return urllib.request.urlopen(
            urllib.request.Request(f"{self.url}{path}", method=method, headers=headers), timeout=20
        )
