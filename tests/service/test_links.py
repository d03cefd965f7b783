"""Links that open one file without a key: what they cover, when they end, and how their secret is exchanged."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
import pytest
import requests

from comfybridge.messages import ASK_FOR_LINKS
from comfybridge.service import keys
from comfybridge.service.database import async_pool
from comfybridge.service.gateway.state import Options
from comfybridge.service.signing import LONGEST_S, Signing, rotate
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.media import png
from tests.contract.server import Frame, Server, eventually
from tests.service.running import are_well, database, gateway, worker

VALUES = ["alice", "output", "", "ComfyUI_00001_.png", 4102444800]


@pytest.fixture(scope="module")
def made(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Frame, psycopg.Connection]]:
    """A caller's server, the file of a job, and the database."""
    store = tmp_path_factory.mktemp("store")
    with (
        Simulator() as comfyui,
        database(postgres) as url,
        worker(url, store, comfyui.url),
        psycopg.connect(url, autocommit=True) as connection,
    ):
        are_well(connection, 1)
        _, key = keys.add(connection, "alice", {})
        with gateway(url, store, Options(link_s=3600.0)) as address:
            server = Server(address, key)
            prompt_id = server.submit(graphs.solid())
            server.finished(prompt_id)
            yield server, {"prompt_id": prompt_id}, connection
            server.close()


def link_of(server: Server, prompt_id: str, **headers: str) -> str:
    entry = server.get(f"/history/{prompt_id}", headers={**ASK_FOR_LINKS, **headers}).json()[prompt_id]
    (image,) = entry["outputs"]["2"]["images"]
    link: str = image["signed_url"]
    return link


def opened(link: str, **changes: str) -> requests.Response:
    """What somebody without a key gets."""
    address, _, query = link.partition("?")
    values = {**dict(parse_qsl(query, keep_blank_values=True)), **changes}
    return requests.get(f"{address}?{urlencode(values)}", timeout=60)


def test_links_are_given_to_who_asks_for_them(made: tuple[Server, Frame, psycopg.Connection]) -> None:
    server, job, _ = made
    plain = server.history(job["prompt_id"])
    assert plain is not None
    assert set(plain["outputs"]["2"]["images"][0]) == {"filename", "subfolder", "type"}

    link = link_of(server, job["prompt_id"])
    listed = server.get("/history", headers=ASK_FOR_LINKS).json()[job["prompt_id"]]

    assert link.startswith(f"{server.url}/view?")
    assert listed["outputs"]["2"]["images"][0]["signed_url"].startswith(f"{server.url}/view?")
    assert opened(link).content.startswith(b"\x89PNG")
    assert opened(link.replace("/view?", "/api/view?")).status_code == 200
    assert requests.head(link, timeout=60).status_code == 200
    # Other forms of the same picture are not covered, nor need they be.
    assert opened(link, preview="webp;90").headers["Content-Type"] == "image/webp"
    assert opened(link, channel="rgb").headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "other.png"},
        {"type": "input"},
        {"subfolder": "x"},
        {"owner": ""},
        {"expires": "9999999999"},
        {"expires": "99999999999999999999"},
        {"expires": "x"},
        {"expires": "²"},
        {"signature": ""},
        {"signature": "é\ud83d".encode("utf-8", "replace").decode()},
        {"filename": "ComfyUI_00001_.png [input]"},
    ],
    ids=str,
)
def test_link_opens_nothing_else(made: tuple[Server, Frame, psycopg.Connection], changes: dict[str, str]) -> None:
    server, job, _ = made
    link = link_of(server, job["prompt_id"])

    assert opened(link, **changes).status_code == 403
    # It is a link for everybody, or for nobody: a key beside it changes nothing.
    assert opened(link, token="x", **changes).status_code == 403


def test_link_is_for_looking_only(made: tuple[Server, Frame, psycopg.Connection]) -> None:
    server, job, _ = made
    query = urlsplit(link_of(server, job["prompt_id"])).query

    for method, path in (("POST", "/view"), ("GET", "/queue"), ("GET", "/history"), ("POST", "/upload/image")):
        assert requests.request(method, f"{server.url}{path}?{query}", timeout=60).status_code == 401


def test_link_expires(postgres: str, tmp_path: Path) -> None:
    with database(postgres) as url, gateway(url, tmp_path, Options(link_s=-1.0)) as address:
        server = Server(address)
        server.upload("x.png", png())
        with psycopg.connect(url, autocommit=True) as connection:
            history = '{"outputs": {"2": {"images": [{"filename": "x.png", "subfolder": "", "type": "input"}]}}}'
            connection.execute("INSERT INTO wants VALUES ('any', '{}')")
            connection.execute(
                "INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, state,"
                " outcome, history) VALUES ('job', '', '{}', '{}', '{}', 'any', 1, 1, 'ended', 'succeeded', %s)",
                (history,),
            )

        answer = opened(link_of(server, "job"))

        assert (answer.status_code, answer.text) == (403, "This link has expired.")
        server.close()


def test_link_names_the_address_that_was_asked(made: tuple[Server, Frame, psycopg.Connection]) -> None:
    server, job, _ = made
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pictures.example.com, inner"}

    assert link_of(server, job["prompt_id"], **proxied).startswith("https://pictures.example.com/view?")
    assert link_of(server, job["prompt_id"], Host="gpu.example:8288").startswith("http://gpu.example:8288/view?")
    odd = {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "evil.example/?"}
    assert link_of(server, job["prompt_id"], **odd).startswith(f"{server.url}/view?")


def test_exchanged_secret_ends_no_link_and_a_leaked_one_all(made: tuple[Server, Frame, psycopg.Connection]) -> None:
    server, job, connection = made
    link = link_of(server, job["prompt_id"])

    rotate(connection)
    assert opened(link).status_code == 200
    rotate(connection, at_once=True)

    eventually(lambda: opened(link).status_code == 403)
    assert opened(link_of(server, job["prompt_id"])).status_code == 200


def test_all_gateways_sign_alike(postgres: str) -> None:
    async def several(url: str) -> list[Signing]:
        signings = [Signing() for _ in range(8)]
        async with async_pool(url, most=8, name="test") as pool:
            await asyncio.gather(*(signing.refresh(pool) for signing in signings))
        return signings

    with database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        signings = asyncio.run(several(url))
        first = {signing.sign(VALUES) for signing in signings}
        rotate(connection)
        (later, *_) = asyncio.run(several(url))
        stored = connection.execute("SELECT value FROM settings WHERE name = 'links'").fetchone()

    assert len(first) == 1
    # The new secret signs as soon as all have read it; the old one goes when its last link has expired.
    assert later.sign(VALUES) in first
    assert later.is_ours(first.pop(), VALUES)
    assert stored is not None
    fresh, old = stored[0]
    assert fresh["until"] is None
    assert fresh["since"] > time.time()
    assert old["until"] > time.time() + LONGEST_S - 60
    assert fresh["secret"] != old["secret"]
