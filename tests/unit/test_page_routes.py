"""The web client as it is served: headers, caching, gzip, and that its files fit together."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from whatsapp import page_routes
from whatsapp.page_routes import FOLDER, addresses, file

SCRIPT_BYTES_MAX = 80_000
FILE_LINES_MAX = 400
SCRIPTS = sorted(name for name in addresses().values() if name.endswith(".js"))
OURS = [name for name in SCRIPTS if not name.startswith("vendor/")]
IMPORTED = re.compile(r"""\b(?:from|import)\s*["']([^"'\s]+)["']""")

Browser = TestClient[web.Request, web.Application]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    app = web.Application()
    app.router.add_routes(page_routes.routes())
    async with TestClient(TestServer(app)) as client:
        yield client


async def raw(browser: Browser, address: str, **headers: str) -> tuple[Any, bytes]:
    """An answer as it came over the line."""
    async with (
        ClientSession(auto_decompress=False) as session,
        session.get(browser.make_url(address), headers=headers) as response,
    ):
        return response, await response.read()


def text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "address, content_type",
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/styles/base.css", "text/css; charset=utf-8"),
        ("/page/icons/icon.svg", "image/svg+xml"),
        ("/page/icons/icon-192.png", "image/png"),
        ("/manifest.webmanifest", "application/manifest+json"),
        ("/sw.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_every_kind_of_file_has_its_type(
    browser: Browser, address: str, content_type: str
) -> None:
    response = await browser.get(address)
    assert response.status == 200
    assert response.headers["Content-Type"] == content_type
    assert await response.read()


async def test_the_page_may_load_nothing_but_itself(browser: Browser) -> None:
    headers = (await browser.get("/")).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("name", [name for name in addresses().values() if name.endswith("html")])
def test_nothing_is_inline(name: str) -> None:
    html = text(name)
    assert "<style" not in html
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", html)
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []


async def test_who_has_a_file_is_told_that_it_is_still_the_same(browser: Browser) -> None:
    first = await browser.get("/page/main.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = await browser.get("/page/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304
    assert await again.read() == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    changed = await browser.get("/page/main.js", headers={"If-None-Match": '"of-yesterday"'})
    assert changed.status == 200


async def test_gzip_where_it_is_wanted_and_helps(browser: Browser) -> None:
    packed, body = await raw(browser, "/page/main.js", **{"Accept-Encoding": "br, gzip;q=0.8"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    plain, same = await raw(browser, "/page/main.js", **{"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(body) == same == (FOLDER / "main.js").read_bytes()
    assert plain.headers["ETag"] != packed.headers["ETag"]
    image, _ = await raw(browser, "/page/icons/icon-192.png", **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in image.headers


@pytest.mark.parametrize(
    "address", ["/page/", "/page/../web.py", "/page/%2e%2e/web.py", "/page/vendor/README.md"]
)
async def test_nothing_else_is_served(browser: Browser, address: str) -> None:
    response, _ = await raw(browser, address)
    assert response.status == 404


def test_the_worker_keeps_all_files_and_its_version_follows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, _, rest = file("/sw.js").body.decode().partition(";\n")
    shell = json.loads(first.removeprefix("self.SHELL = "))
    assert set(shell["files"]) == set(addresses()) - {"/sw.js"}
    assert rest == text("sw.js")
    real = file
    monkeypatch.setattr(
        page_routes,
        "file",
        lambda at: page_routes.File("", b"", b"", "changed") if at == "/page/main.js" else real(at),
    )
    assert shell["version"].encode() not in page_routes._shell()


def test_the_manifest_names_files_that_are_there() -> None:
    manifest = json.loads(text("manifest.webmanifest"))
    assert manifest["start_url"] in addresses()
    assert {icon["src"] for icon in manifest["icons"]} <= set(addresses())
    assert {"192x192", "512x512"} <= {icon["sizes"] for icon in manifest["icons"]}


def test_the_first_page_names_every_module_so_that_none_waits_for_another() -> None:
    html = text("index.html")
    named = re.findall(r'<link rel="modulepreload" href="/page/([^"]+)"', html)
    assert sorted([*named, "main.js", "sw.js"]) == SCRIPTS
    assert set(re.findall(r'(?:href|src)="(/page/[^"]+)"', html)) <= set(addresses())


def test_every_import_leads_to_a_file_of_ours() -> None:
    for name in SCRIPTS:
        for target in IMPORTED.findall(text(name)):
            assert target.startswith(("./", "../")), (name, target)
            assert (FOLDER / name).parent.joinpath(target).resolve().is_file(), (name, target)


def test_the_rules_do_not_know_the_views() -> None:
    for name in SCRIPTS:
        if name.startswith("core/"):
            assert "/views/" not in "".join(IMPORTED.findall(text(name))), name


def test_a_script_fits_a_sitting_and_begins_with_what_may_live_in_it() -> None:
    for name in OURS:
        lines = text(name).splitlines()
        assert len(lines) <= FILE_LINES_MAX, name
        assert lines[0].startswith("// "), name


def test_all_scripts_together_are_small() -> None:
    scripts = [address for address in addresses() if address.endswith(".js")]
    assert sum(len(file(address).packed) for address in scripts) <= SCRIPT_BYTES_MAX


def test_nothing_is_fetched_from_elsewhere() -> None:
    for name in [*OURS, *(n for n in addresses().values() if n.endswith((".css", ".html")))]:
        found = re.findall(r"https?://[^\s\"'`)]+", text(name))
        assert [url for url in found if "w3.org" not in url and "${" not in url] == [], name


def test_versions_and_licences_of_what_is_vendored_are_noted() -> None:
    noted = text("vendor/README.md")
    for path in Path(FOLDER / "vendor").glob("*.js"):
        assert re.search(rf"`{re.escape(path.name)}` \| \S+ \| \d+\.\d+\.\d+ \|", noted), path.name
