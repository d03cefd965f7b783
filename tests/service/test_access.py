"""Every route of a gateway, as its router has them: none is open by oversight, none of an admin's is anybody's."""

import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from comfybridge.service import keys
from comfybridge.service.gateway.app import build
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import alone, database, gateway

OPEN = {(method, path) for method in ("GET", "HEAD") for path in ("/", "/health", "/ready", "/comfybridge/page/x")}
ADMINS = {
    ("GET", "/comfybridge/keys"),
    ("POST", "/comfybridge/keys"),
    ("PATCH", "/comfybridge/keys/x"),
    ("DELETE", "/comfybridge/keys/x"),
    ("GET", "/comfybridge/servers"),
    ("POST", "/comfybridge/servers"),
    ("POST", "/comfybridge/versions"),
    ("GET", "/comfybridge/figures"),
    ("POST", "/free"),
}
"""Bare and under ``/api``; and what Prometheus asks for, which is in one place only."""


def routes(store: Path) -> set[tuple[str, str]]:
    """Method and path of all that an application answers."""
    router = build("postgresql://nowhere", str(store), keep_s=1.0).router
    found = ((route.method, route.resource.canonical) for route in router.routes() if route.resource is not None)
    return {(method, re.sub(r"\{[^}]*\}", "x", path)) for method, path in found}


def status(url: str, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """The answer to a path exactly as it is written: clients would tidy it up."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@dataclass
class Locked:
    url: str
    ordinary: str
    admin: str
    every: set[tuple[str, str]]


@pytest.fixture(scope="module")
def locked(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """A gateway of which everybody needs a key."""
    store = tmp_path_factory.mktemp("store")
    with (
        database(postgres) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        _, ordinary = keys.add(connection, "ordinary", {})
        _, admin = keys.add(connection, "admin", {"admin": True})
        with gateway(url, store) as address:
            yield Locked(address, ordinary, admin, routes(store))


def written(path: str) -> Iterator[str]:
    """A path in other spellings, which may lead to the same place or to none."""
    yield path
    yield f"{path}/"
    yield f"/{path}"
    yield f"{path}?x=1"
    yield f"/./{path.lstrip('/')}"
    yield f"/health/..{path}"
    yield f"/%2e%2e{path}"
    yield f"{path};/health"
    yield "/" + "".join(f"%{ord(letter):02x}" if letter != "/" else letter for letter in path.lstrip("/"))


def test_nothing_is_open_by_oversight(locked: Locked) -> None:
    unknown = {("GET", "/nowhere"), ("POST", "/nowhere"), ("PUT", "/prompt"), ("TRACE", "/prompt")}
    assert len(locked.every) > 100
    for method, path in (locked.every | unknown) - OPEN:
        # Of /api all is the same but for the plain path.
        for spelled in (path,) if path.startswith("/api/") else written(path):
            found, body = status(locked.url, method, spelled)
            assert found in (401, 403), (method, spelled, found, body)
        assert status(locked.url, "OPTIONS", path)[1] == b""
        # What lies below the page's folder is open, and leads nowhere else.
        assert status(locked.url, method, f"/comfybridge/page/../..{path}")[0] in (401, 403, 404, 405)


def test_open_routes_tell_of_nobody(locked: Locked) -> None:
    assert {("GET", path) for _, path in OPEN} <= locked.every
    assert status(locked.url, "GET", "/health") == (200, b'{"status": "ok"}')
    assert status(locked.url, "GET", "/ready")[0] == 503


@pytest.mark.parametrize(
    "path",
    ["/view?signature=x&filename=x.png", "/api/view?filename=x.png&signature=&owner=&expires=9", "/queue?signature=x"],
)
def test_signature_of_nobody_opens_nothing(locked: Locked, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        assert status(locked.url, method, path)[0] in (401, 403)


def test_what_is_an_admins_is_refused_to_others(locked: Locked) -> None:
    wanted = ADMINS | {(method, f"/api{path}") for method, path in ADMINS}
    wanted |= {(f"{'HEAD' if method == 'GET' else method}", path) for method, path in wanted}
    wanted |= {("GET", "/metrics"), ("HEAD", "/metrics")}
    refused = {
        (method, path)
        for method, path in locked.every
        if status(locked.url, method, path, {"Authorization": f"Bearer {locked.ordinary}"})[0] == 403
        and status(locked.url, method, path, {"Authorization": f"Bearer {locked.admin}"})[0] != 403
    }

    assert refused == wanted


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1.evil.example"])
def test_page_of_another_site_is_nobody_even_where_no_key_is_needed(postgres: str, tmp_path: Path, origin: str) -> None:
    with database(postgres) as url, gateway(url, tmp_path) as address:
        assert requests.get(f"{address}/queue", timeout=60).status_code == 200
        # A page in a sandboxed frame says "null" of itself.
        asked = {"Origin": origin}
        made = requests.post(f"{address}/comfybridge/keys", data='{"name": "x"}', headers=asked, timeout=60)
        assert made.status_code in (401, 403)
        assert requests.get(f"{address}/ws", headers=asked, timeout=60).status_code in (401, 403)
        assert requests.get(f"{address}/queue", timeout=60).status_code == 200


def test_name_of_a_file_cannot_end_its_header(postgres: str, tmp_path: Path) -> None:
    with alone(postgres, tmp_path) as (_, _, address, connection):
        server = Server(address)
        entry = server.run(graphs.solid(prefix="plain"))
        (image,) = entry["outputs"]["2"]["images"]
        odd = 'a"; x="b\r\nSet-Cookie: k=v\\.png'
        connection.execute("UPDATE files SET filename = %s", (odd,))

        answer = eventually(lambda: server.get("/view", params={**image, "filename": odd}))
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"] == r'filename="a\"; x=\"b__Set-Cookie: k=v\\.png"'
        assert "Set-Cookie" not in answer.headers
        server.close()
