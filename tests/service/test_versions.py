"""Versions of templates over real sockets: who gets which, what is on record, and what happens to one that fails."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from comfybridge import library, versioned
from comfybridge.cli import main
from comfybridge.service import keys
from comfybridge.service.gateway import trials
from comfybridge.service.gateway.offering import Offering
from comfybridge.service.gateway.state import Options
from comfybridge.service.rollout import parse
from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.simulator.faults import NodeFailure
from tests.contract import graphs
from tests.contract.server import Prompt, Server, eventually
from tests.service.running import database, gateway, has_a_server, worker

ROOT = Path(__file__).parents[2]
USERS = [f"user {number}" for number in range(40)]
TRIAL = "{stable: 1, share: {2: 50}, threshold: {success: 0.9, window: 5, at_least: 3}}"


def write(folder: Path, rollout: str = "", **files: Any) -> None:
    """Files by name, ``poster_2`` for ``poster@2.json``; each is there whole or not at all."""
    for name, content in {**files, **({"rollout.yaml": rollout} if rollout else {})}.items():
        path = folder / (name if "." in name else f"{name.replace('_', '@')}.json")
        text = content if isinstance(content, str) else json.dumps(content)
        path.with_suffix(".new").write_text(text, encoding="utf-8")
        path.with_suffix(".new").replace(path)


def first() -> Prompt:
    return graphs.solid("first")


def second() -> Prompt:
    """It has a node that the first version has not."""
    scaled = {"image": ["1", 0], "upscale_method": "lanczos", "width": 16, "height": 16, "crop": "disabled"}
    return {
        **graphs.solid("second"),
        "3": {"class_type": "ImageScale", "inputs": scaled},
        "2": graphs.save("3", "second"),
    }


class Fleet:
    """Gateways with one folder of templates, over one simulator."""

    def __init__(self, comfyui: Simulator, url: str, addresses: list[str]) -> None:
        self.comfyui = comfyui
        self.url = url
        self.servers = [Server(address) for address in addresses]
        self.server = self.servers[0]
        self.connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self.connection.close()
        for server in self.servers:
            server.close()

    def read(self, user: str, name: str = "poster", server: Server | None = None) -> dict[str, Any]:
        answer = (server or self.server).get(f"/userdata/workflows%2F{name}.json", params={versioned.USER: user})
        assert answer.status_code == 200, answer.text
        saved: dict[str, Any] = answer.json()
        return saved

    def version(self, user: str, name: str = "poster", server: Server | None = None) -> str:
        mark = versioned.mark_of(self.read(user, name, server))
        return mark.version if mark is not None else ""

    def versions(self, server: Server | None = None) -> dict[str, str]:
        return {user: self.version(user, server=server) for user in USERS}

    def all_stable(self, server: Server) -> bool:
        return set(self.versions(server).values()) == {"1"}

    def of_second(self) -> str:
        """A user who has the second version."""
        return eventually(lambda: next((user for user in USERS if self.version(user) == "2"), ""))

    def run(self, user: str) -> str:
        """A job of the version that a user gets; its outcome."""
        saved = self.read(user)
        mark = versioned.mark_of(saved)
        assert mark is not None
        prompt = versioned.unmarked(saved)
        # ComfyUI would answer the same graph from its cache.
        prompt["1"] = graphs.solid()["1"]
        told = {"comfybridge": {"template": mark.full_name, "user": user}}
        self.server.run(prompt, extra_data=told)
        query = "SELECT outcome FROM jobs WHERE state = 'ended' ORDER BY ended DESC LIMIT 1"
        return str(self.one(query))

    def one(self, query: str) -> Any:
        row = self.connection.execute(query.encode()).fetchone()
        return row[0] if row is not None else None

    def told(self, server: Server | None = None) -> dict[str, Any]:
        body: dict[str, Any] = (server or self.server).get("/comfybridge/versions").json()
        return body

    def of(self, version: str, name: str = "poster") -> dict[str, Any]:
        template = next(each for each in self.told()["templates"] if each["name"] == name)
        found: dict[str, Any] = next(each for each in template["versions"] if each["version"] == version)
        return found


def options(folder: Path) -> Options:
    return Options(templates=folder, look_every_s=0.1)


@contextmanager
def fleet(postgres: str, store: Path, folder: Path, *, gateways: int = 1) -> Iterator[Fleet]:
    with ExitStack() as stack:
        comfyui = stack.enter_context(Simulator())
        url = stack.enter_context(database(postgres))
        stack.enter_context(worker(url, store, comfyui.url))
        addresses = [stack.enter_context(gateway(url, store, options(folder))) for _ in range(gateways)]
        found = Fleet(comfyui, url, addresses)
        stack.callback(found.close)
        for server in found.servers:
            eventually(partial(has_a_server, server))
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "templates"
    path.mkdir()
    return path


def test_each_user_gets_one_version_and_it_is_on_record(postgres: str, tmp_path: Path, folder: Path) -> None:
    write(folder, f"poster: {TRIAL}", poster_1=first(), poster_2=second())
    with fleet(postgres, tmp_path / "store", folder, gateways=2) as found:
        user = found.of_second()
        eventually(lambda: found.versions() == found.versions(found.servers[1]))
        assert set(found.versions().values()) == {"1", "2"}

        assert found.run(user) == "succeeded"
        for claim in ("poster@3", "poster", "unheard@1", 7, None):
            found.server.run(graphs.solid(), extra_data={"comfybridge": {"template": claim}})

        assert found.one("SELECT json_agg(template ORDER BY created) FROM jobs") == ["poster@2", "", "", "", "", ""]
        latest = found.of("2")["latest"]
        assert (latest["runs"], latest["success"], latest["median_s"] is not None) == (1, 1.0, True)
        names = found.server.get("/userdata", params={"dir": "workflows"}).json()
        assert {"poster.json", "sdxl.json"} < set(names)
        # For admins, to try one before its rollout.
        exact = [found.server.get(f"/userdata/workflows%2Fposter@{number}.json").status_code for number in (1, 2, 3)]
        assert exact == [200, 200, 404]


def test_keys_of_the_rules_and_keys_that_may_not_look(postgres: str, tmp_path: Path, folder: Path) -> None:
    write(folder, "poster: {stable: 1, keys: {alice: 2}}", poster_1=first(), poster_2=second())
    with fleet(postgres, tmp_path / "store", folder) as found:
        texts = {
            name: keys.add(found.connection, name, {"admin": name == "boss"})[1] for name in ("alice", "ben", "boss")
        }
        headers = {name: {"Authorization": f"Bearer {text}"} for name, text in texts.items()}
        path = "/userdata/workflows%2Fposter.json"

        def got(name: str) -> str:
            answer = found.server.get(path, headers=headers[name])
            mark = versioned.mark_of(answer.json()) if answer.status_code == 200 else None
            return mark.version if mark is not None else ""

        eventually(lambda: {name: got(name) for name in texts} == {"alice": "2", "ben": "1", "boss": "1"})
        told = found.server.get("/comfybridge/versions", headers=headers["alice"]).json()
        assert {"name": "poster", "version": "2"} in told["templates"]
        assert set(told) == {"templates"}
        answer = {"template": "poster", "version": "2", "action": "rollback"}
        assert found.server.post("/comfybridge/versions", json=answer, headers=headers["alice"]).status_code == 403
        exact = found.server.get("/userdata/workflows%2Fposter@2.json", headers=headers["ben"])
        assert exact.status_code == 404

        _, text = keys.add(found.connection, "carl", {"templates": ["poster"]})
        carl = {"Authorization": f"Bearer {text}"}
        eventually(lambda: found.server.get(path, headers=carl).status_code == 200)
        listed = found.server.get("/userdata", params={"dir": "workflows"}, headers=carl).json()
        assert listed == ["poster.json"]
        assert found.server.get("/userdata/workflows%2Fsdxl.json", headers=carl).status_code == 404
        served = versioned.unmarked(found.server.get(path, headers=carl).json())
        sent = [
            found.server.post("/prompt", json={"prompt": prompt}, headers=carl).status_code
            for prompt in (served, graphs.long(2))
        ]
        assert sent == [200, 400]


def test_changes_are_taken_over_whole_and_mistakes_are_not(postgres: str, tmp_path: Path, folder: Path) -> None:
    write(folder, "poster: {stable: 1}", poster_1=first())
    with fleet(postgres, tmp_path / "store", folder) as found:
        eventually(lambda: found.version("ann") == "1")

        write(folder, poster_2="{", rollout="poster: {stable: 2}")
        problems = eventually(lambda: found.told()["folder"]["problems"])
        assert problems[0]["en"].startswith("poster@2.json: it is no JSON")
        assert found.version("ann") == "1"

        # In this order: what lies there in between is no good either.
        write(folder, "poster: {stable: 2, share: {1: 200}}")
        write(folder, poster_2=second())
        eventually(lambda: "poster.share.1" in found.told()["folder"]["problems"][0]["en"])
        assert found.version("ann") == "1"

        write(folder, "poster: {stable: 2}")
        eventually(lambda: found.version("ann") == "2")
        assert found.told()["folder"]["problems"] == []

        write(folder, "poster: {stable: 3}")
        eventually(lambda: found.told()["folder"]["problems"])
        # One that starts now has what the others have.
        with gateway(found.url, tmp_path / "store", options(folder)) as late:
            server = Server(late)
            eventually(lambda: server.get("/userdata/workflows%2Fposter.json").status_code == 200)
            assert found.version("ann", server=server) == "2"
            assert found.told(server)["folder"]["problems"]
            server.close()


def test_version_that_no_server_can_run_is_told_and_given_to_nobody(
    postgres: str, tmp_path: Path, folder: Path
) -> None:
    strange = {**first(), "9": {"class_type": "StrangeNode", "inputs": {}}}
    write(folder, "poster: {stable: 1, share: {2: 100}}", poster_1=first(), poster_2=strange)
    with fleet(postgres, tmp_path / "store", folder) as found:
        lacking = eventually(lambda: found.of("2")["lacking"])

        assert "StrangeNode" in lacking[0]["en"]
        assert set(found.versions().values()) == {"1"}


def test_failing_version_is_rolled_back_once_and_stays_so(postgres: str, tmp_path: Path, folder: Path) -> None:
    write(folder, f"poster: {TRIAL}", poster_1=first(), poster_2=second())
    with fleet(postgres, tmp_path / "store", folder, gateways=2) as found:
        found.comfyui.inject(NodeFailure("ImageScale"))
        user = found.of_second()
        assert [found.run(user) for _ in range(2)] == ["failed", "failed"]
        assert found.version(user) == "2"

        assert found.run(user) == "failed"

        for server in found.servers:
            eventually(partial(found.all_stable, server))
        assert found.one("SELECT json_agg(kind) FROM events") == ["rollback"]
        (event,) = found.told()["events"]
        assert (event["data"]["version"], event["data"]["stable"], event["data"]["runs"]) == ("2", "1", 3)
        reason = found.of("2")["rolled_back"]["reason"]
        assert reason["en"] == "0% of the latest 3 runs succeeded; at least 90% shall."
        assert "回滚" not in reason["en"]
        assert "成功率" in reason["zh"]
        assert found.run(user) == "succeeded"

        # A gateway that comes later knows it, too.
        with gateway(found.url, tmp_path / "store", options(folder)) as late:
            server = Server(late)
            assert set(found.versions(server).values()) == {"1"}
            server.close()

        found.comfyui.heal()
        resume = {"template": "poster", "version": "2", "action": "resume"}
        assert found.server.post("/comfybridge/versions", json=resume).status_code == 200
        assert found.server.post("/comfybridge/versions", json=resume).status_code == 404
        assert found.version(user) == "2"
        # What failed before counts no more.
        assert found.run(user) == "succeeded"
        assert found.of("2")["latest"]["runs"] == 1
        by_hand = {"template": "poster", "version": "2", "action": "rollback"}
        assert found.server.post("/comfybridge/versions", json=by_hand).status_code == 200
        assert found.version(user) == "1"

        write(folder, "poster: {stable: 1, share: {2: 100}}")
        eventually(lambda: found.version(user) == "2")


def test_what_was_read_last_is_known_last(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(({"poster": frozenset({"2"})}, {}))

    async def read_twice(connection: Any) -> Offering:
        offering, is_answered = Offering(), asyncio.Event()

        async def barred(*_: Any) -> dict[str, frozenset[str]]:
            if answer := next(answers):
                await is_answered.wait()
            return answer

        monkeypatch.setattr(trials, "barred", barred)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(offering.read_barred(connection))
                await asyncio.sleep(0)
            is_answered.set()
        return offering

    assert asyncio.run(read_twice(None)).barred == {}


def test_stable_version_that_fails_is_told_once(postgres: str, tmp_path: Path, folder: Path) -> None:
    write(folder, f"poster: {TRIAL.replace('50', '0')}", poster_1=first(), poster_2=second())
    with fleet(postgres, tmp_path / "store", folder, gateways=2) as found:
        found.comfyui.inject(NodeFailure("SaveImage"))
        eventually(lambda: found.version("ann") == "1")
        for _ in range(4):
            found.run("ann")

        eventually(lambda: found.told()["events"])

        assert found.version("ann") == "1"
        found.comfyui.heal()
        for _ in range(5):
            found.run("ann")
        eventually(lambda: found.one("SELECT count(*) FROM rollouts WHERE degraded IS NULL"))
        assert found.one("SELECT json_agg(kind) FROM events") == ["degraded"]


def test_slow_version_is_rolled_back_beside_the_stable(postgres: str, tmp_path: Path, folder: Path) -> None:
    rules = "{stable: 1, share: {2: 100}, threshold: {seconds: 1.5, window: 10, at_least: 5}}"
    write(folder, f"poster: {rules}", poster_1=first(), poster_2=second())
    ended = """
        INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, template, state,
            outcome, gpu_s, created, ended)
        SELECT %(template)s || n, '', '{}', '{}', '{}', 'x', 1, n, %(template)s, 'ended', %(outcome)s, %(gpu_s)s,
            now() + interval '1 second', now() + interval '2 seconds'
        FROM generate_series(1, %(runs)s) AS n
    """
    with fleet(postgres, tmp_path / "store", folder) as found:
        eventually(lambda: found.one("SELECT count(*) FROM rollouts"))
        found.connection.execute("INSERT INTO wants VALUES ('x', '{}')")
        # A caller's own mind and values tell nothing of a version.
        for outcome in ("cancelled", "rejected"):
            values = {"template": "poster@2", "outcome": outcome, "gpu_s": 90.0, "runs": 9}
            found.connection.execute(ended.replace("|| n", f"|| '{outcome}' || n").encode(), values)
        for template, gpu_s in (("poster@1", 4.0), ("poster@2", 7.0)):
            values = {"template": template, "outcome": "succeeded", "gpu_s": gpu_s, "runs": 5}
            found.connection.execute(ended.encode(), values)

        eventually(lambda: found.version("ann") == "1")

        assert found.of("2")["rolled_back"]["reason"]["en"].startswith("It takes 7.0 s, 1.8 times as long")


def test_plugin_runs_the_version_of_its_user(postgres: str, tmp_path: Path, folder: Path) -> None:
    write(folder, f"海报: {TRIAL}", 海报_1=library.load("sd15").prompt, 海报_2=library.load("sd15").prompt)
    with fleet(postgres, tmp_path / "store", folder) as found, PluginDaemon(ROOT) as daemon:
        eventually(lambda: found.one("SELECT count(*) FROM rollouts"))
        credentials = {"base_url": found.server.url}
        made: dict[str, set[str]] = {}
        for _ in range(2):
            for user in ("ann", "ben", "carl"):
                values = {"workflow": "海报", "prompt": "一只狐狸", "values": "steps=1"}
                daemon.call_tool("comfyui", "run_workflow", values, credentials=credentials, user_id=user)
                ran = str(found.one("SELECT template FROM jobs ORDER BY created DESC LIMIT 1"))
                made.setdefault(user, set()).add(ran)

        assert all(len(ran) == 1 for ran in made.values())
        assert set.union(*made.values()) == {"海报@1", "海报@2"}


def test_folder_of_git(postgres: str, tmp_path: Path, folder: Path) -> None:
    def git(*words: str) -> None:
        named = ["-c", "user.name=Fox", "-c", "user.email=fox@example.com"]
        subprocess.run(["git", "-C", str(folder), *named, *words], check=True, capture_output=True)

    git("init", "-b", "main")
    write(folder, "poster: {stable: 1}", poster_1=first())
    git("add", ".")
    git("commit", "-m", "Begin")
    git("checkout", "-b", "next")
    write(folder, "poster: {stable: 2}", poster_2=second())
    git("add", ".")
    git("commit", "-m", "Change")
    git("checkout", "main")
    with fleet(postgres, tmp_path / "store", folder) as found:
        assert found.version("ann") == "1"

        (folder / ".git" / "index.lock").touch()
        write(folder, "poster: {stable: 9}")
        (folder / ".git" / "index.lock").unlink()
        git("checkout", "--force", "next")

        eventually(lambda: found.version("ann") == "2")
        git("checkout", "main")
        eventually(lambda: found.version("ann") == "1")


def test_table(postgres: str, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, f"poster: {TRIAL}", poster_1=first(), poster_2=second())
    with fleet(postgres, tmp_path / "store", folder) as found:
        found.run(found.of_second())
        by_hand = {"template": "poster", "version": "2", "action": "rollback"}
        found.server.post("/comfybridge/versions", json=by_hand)

        assert main(["versions", "--database", found.url]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert main(["versions", "--database", found.url, "--json", "--hours", "1"]) == 0
        told = json.loads(capsys.readouterr().out)

    assert lines[0] == ["TEMPLATE", "VERSION", "GETS", "RUNS", "SUCCESS", "MEDIAN", "P95"]
    assert lines[1][:6] == ["poster", "1", "stable", "50", "%", "0"]
    assert lines[2][:6] == ["poster", "2", "rolled", "back", "1", "100%"]
    assert [(each["version"], each["figures"]["runs"], each["success"]) for each in told] == [
        ("1", 0, None),
        ("2", 1, 1.0),
    ]


def test_check_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "poster: {stable: 1}", poster_1=first())
    assert main(["versions", "--check", str(folder)]) == 0
    write(folder, "poster: {stable: 3}")
    assert main(["versions", "--check", str(folder)]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "All right: poster@1.",
        "rollout.yaml, line 1, poster.stable: there is no version '3'; there are 1.",
    ]


def test_example_of_the_documentation_is_right() -> None:
    text = (ROOT / "docs" / "service" / "versions.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]

    rollout = parse(example, {"poster": ("1", "2", "3")})["poster"]

    assert (rollout.stable, rollout.candidates) == ("1", ("2", "3"))
