"""``make crashes``: processes of a fleet are killed under load, and nothing may be lost, doubled or left unfinished.

The client keeps what it was told in a ledger of its own, and compares at the end.
"""

import argparse
import io
import itertools
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
import requests
from PIL import Image

from comfybridge.service.claiming import LEASE_S
from tests.service.processes import Fleet

_TRY_S = 10.0
_AGAIN_S = 0.05
_UNWRITTEN_S = 1.5
_END_S = 180.0
_CLIENTS = 8
_BROKEN = re.compile(r"(ERROR|CRITICAL) .*\bbroke\b")
_OPEN = 40
"""So many jobs are kept open at a time while there are kills to come."""

# Written by the database itself, so that a second outcome could not be missed.
_WATCH = """
CREATE TABLE outcomes (prompt_id text, outcome text, fence bigint, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.outcome IS DISTINCT FROM OLD.outcome OR NEW.history::text IS DISTINCT FROM OLD.history::text THEN
        INSERT INTO outcomes VALUES (NEW.prompt_id, NEW.outcome, NEW.fence);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER watch AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION watch();
"""


@dataclass(frozen=True, slots=True)
class Kill:
    part: str
    at: float


@dataclass(slots=True)
class Report:
    """``wrong`` is empty when all is as it should be."""

    jobs: int = 0
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    """Renders beyond the first of each job, by what explains them."""
    attempts: Counter[int] = field(default_factory=Counter)
    asked_again: int = 0
    """Submissions whose answer was lost with a gateway, sent again under the same id."""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [
            f"{self.jobs} jobs in {self.seconds:.0f} s, {self.kills.total()} kills: {_counts(self.kills)}",
            f"outcomes: {_counts(self.outcomes)}; attempts: {_counts(self.attempts)}",
            f"submissions sent again: {self.asked_again}",
            f"renders beyond the first: {self.repeated.total()}: {_counts(self.repeated)}",
            *(f"WRONG  {problem}" for problem in self.wrong[:40]),
            f"{len(self.wrong)} wrong",
        ]
        return "\n".join(rows)


def _counts(counter: "Counter[str] | Counter[int]") -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


class Clients:
    """Several at a time; each keeps asking until its prompt is accepted."""

    def __init__(self, fleet: Fleet, *, most: int) -> None:
        self._fleet = fleet
        self._most = most
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.accepted: dict[str, int] = {}
        """The colour that each accepted prompt paints."""
        self.enough = threading.Event()
        self.asked_again = 0

    def run(self, open_jobs: "threading.Semaphore") -> None:
        session = requests.Session()
        while True:
            open_jobs.acquire()
            number = next(self._numbers)
            if number >= self._most and self.enough.is_set():
                return
            self._submit(session, number)

    def _submit(self, session: requests.Session, number: int) -> None:
        prompt_id, color = str(uuid4()), (number * 7919 + 1) % (1 << 24)
        image = {"width": 16, "height": 16, "batch_size": 1, "color": color}
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": image},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prompt_id}},
        }
        for url in itertools.cycle(self._fleet.gateways):
            with suppress(requests.RequestException):
                answer = session.post(f"{url}/prompt", json={"prompt": graph, "prompt_id": prompt_id}, timeout=_TRY_S)
                if answer.status_code == 200:
                    with self._lock:
                        self.accepted[prompt_id] = color
                    return
                if answer.status_code < 500:
                    raise AssertionError(answer.text)
            with self._lock:
                self.asked_again += 1
            time.sleep(_AGAIN_S)


def crash(
    folder: Path,
    *,
    kills: int,
    jobs: int,
    seed: int,
    kinds: Sequence[str],
    s3: bool = False,
    work_s: float = 0.1,
    pause_s: float = 1.0,
) -> Report:
    """Run so many jobs at least, and kill so many processes of these kinds meanwhile."""
    chance = random.Random(seed)  # noqa: S311  (nothing secret)
    with Fleet(folder, work_s=work_s, s3=s3) as fleet:
        with fleet.connect() as connection:
            connection.execute(_WATCH.encode())
        report = Report()
        clients = Clients(fleet, most=jobs)
        places = threading.Semaphore(_OPEN)
        started = time.time()
        with ThreadPoolExecutor(_CLIENTS + 1) as pool:
            asking = [pool.submit(clients.run, places) for _ in range(_CLIENTS)]
            freeing = pool.submit(_free, fleet, clients, places)
            killed: list[Kill] = []
            try:
                killed.extend(_kill(fleet, kind, chance, pause_s) for kind in _order(kinds, kills, chance))
            finally:
                clients.enough.set()
            for one in asking:
                one.result()
            freeing.result()
        report.seconds = time.time() - started
        report.kills = Counter(kill.part.partition("-")[0] for kill in killed)
        report.jobs, report.asked_again = len(clients.accepted), clients.asked_again
        fleet.wait_until_ready()
        _compare(fleet, clients.accepted, killed, folder, report)
    return report


def _order(kinds: Sequence[str], kills: int, chance: random.Random) -> list[str]:
    """Every kind as often, in any order."""
    order = [kind for kind, _ in zip(itertools.cycle(kinds), range(kills), strict=False)]
    chance.shuffle(order)
    return order


def _kill(fleet: Fleet, kind: str, chance: random.Random, pause_s: float) -> Kill:
    """Kill one of a kind after a while; when it does not run then, after another while."""
    while True:
        time.sleep(chance.expovariate(1 / pause_s))
        if kind == "postgres":
            name, is_killed = kind, fleet.kill_postgres()
        else:
            part = chance.choice(fleet.of(kind))
            name, is_killed = part.name, part.kill()
        if is_killed:
            return Kill(name, time.time())


def _free(fleet: Fleet, clients: Clients, places: threading.Semaphore) -> None:
    """Let as many in as have ended; to the end of all."""
    freed, deadline = 0, None
    while True:
        time.sleep(_AGAIN_S)
        with suppress(psycopg.OperationalError), fleet.connect() as connection:
            while True:
                row = connection.execute(
                    "SELECT count(*) FILTER (WHERE state = 'ended'), count(*) FROM jobs"
                ).fetchone()
                assert row is not None
                ended, known = row
                if ended > freed:
                    places.release(ended - freed)
                    freed = ended
                if clients.enough.is_set():
                    deadline = deadline or time.monotonic() + _END_S
                    if ended == known and known >= clients._most:
                        break
                    assert time.monotonic() < deadline, f"{known - ended} of {known} jobs do not end"
                time.sleep(_AGAIN_S)
            # Whoever waits for a place is to see that there is enough.
            places.release(_OPEN)
            return


def _compare(fleet: Fleet, accepted: dict[str, int], killed: list[Kill], folder: Path, report: Report) -> None:
    with fleet.connect() as connection:
        rows = {row[0]: row[1:] for row in connection.execute("SELECT prompt_id, state, outcome, attempts FROM jobs")}
        outcomes = Counter(prompt_id for (prompt_id,) in connection.execute("SELECT prompt_id FROM outcomes"))
        files = Counter(prompt_id for (prompt_id,) in connection.execute("SELECT prompt_id FROM files"))
    wrong = report.wrong
    wrong += [f"{prompt_id} was accepted and is gone" for prompt_id in accepted.keys() - rows.keys()]
    wrong += [f"{prompt_id} is there, and nobody sent it" for prompt_id in rows.keys() - accepted.keys()]
    for prompt_id, (state, outcome, attempts) in rows.items():
        report.outcomes[outcome or state] += 1
        report.attempts[attempts] += 1
        if outcomes[prompt_id] != 1:
            wrong.append(f"{prompt_id} ended {outcomes[prompt_id]} times")
        if outcome != "succeeded":
            wrong.append(f"{prompt_id} is {state}, {outcome}, after {attempts} attempts")
        elif files[prompt_id] != 1:
            wrong.append(f"{prompt_id} has {files[prompt_id]} files")
    with ThreadPoolExecutor(4) as pool:
        succeeded = [prompt_id for prompt_id, row in rows.items() if row[1] == "succeeded"]
        for problem in pool.map(lambda prompt_id: _picture(fleet, prompt_id, accepted.get(prompt_id, 0)), succeeded):
            wrong += [problem] if problem else []
    # Whatever is killed may leave others waiting, but no loop of theirs may break.
    for path in sorted(folder.glob("*.log")):
        broken = [line for line in path.read_text(errors="replace").splitlines() if _BROKEN.search(line)]
        wrong += [f"{path.stem}: {line}" for line in broken]
    _explain(folder, killed, report)


def _picture(fleet: Fleet, prompt_id: str, color: int) -> str:
    """What is wrong with a job's picture, as two gateways tell and give it."""
    try:
        return _compared(fleet, prompt_id, color)
    except requests.RequestException as exc:
        return f"{prompt_id} cannot be had: {exc}"


def _compared(fleet: Fleet, prompt_id: str, color: int) -> str:
    readings, contents = [], []
    for url in (fleet.gateways[0], fleet.gateways[-1]):
        entry = requests.get(f"{url}/history/{prompt_id}", timeout=_TRY_S).json().get(prompt_id)
        if not entry:
            return f"{prompt_id} has no history"
        images = entry["outputs"]["2"]["images"]
        if len(images) != 1:
            return f"{prompt_id} has {len(images)} pictures"
        place = {name: images[0][name] for name in ("filename", "subfolder", "type")}
        readings.append((place, entry["status"]["status_str"]))
        contents.append(requests.get(f"{url}/view", params=place, timeout=_TRY_S).content)
    if readings[0] != readings[1] or contents[0] != contents[1]:
        return f"{prompt_id} is told in two ways"
    painted = Image.open(io.BytesIO(contents[0])).convert("RGB").getpixel((0, 0))
    if painted != (color >> 16, color >> 8 & 255, color & 255):
        return f"{prompt_id} has the picture of another one: {painted}"
    return ""


def _explain(folder: Path, killed: list[Kill], report: Report) -> None:
    """Count what was rendered again, by the servers' own disks, and say which kill was the reason."""
    renders: dict[str, list[tuple[float, str]]] = {}
    for path in folder.glob("comfyui-*/output/*.png"):
        renders.setdefault(path.name[:36], []).append((path.stat().st_mtime, path.parts[-3]))
    for prompt_id, of_one in renders.items():
        for (before, server), (after, _) in itertools.pairwise(sorted(of_one)):
            between = [kill.part for kill in killed if before - _TRY_S < kill.at < after]
            # Whoever comes after a worker finds the prompt in its ComfyUI, unless the lease was over by then.
            others = (server.replace("comfyui", "worker"), "postgres", "s3") if after - before > LEASE_S else ()
            # Nobody waits for the disk to claim: what the last moments claimed is queued again after a crash.
            is_forgotten = any(kill.part == "postgres" and abs(kill.at - before) < _UNWRITTEN_S for kill in killed)
            reasons = [part for part in (server, *others, *(["postgres"] if is_forgotten else [])) if part in between]
            if reasons:
                report.repeated[reasons[0].partition("-")[0]] += 1
            else:
                report.wrong.append(f"{prompt_id} was rendered again, and no kill explains it")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--jobs", type=int, default=1000, metavar="N", help="at least so many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides what is killed, and when")
    parser.add_argument("--s3", action="store_true", help="with an S3 server, which is killed as well")
    parser.add_argument("--pause", type=float, default=1.0, metavar="S", help="between kills (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs and databases there")
    options = parser.parse_args()
    kinds = ["gateway", "worker", "comfyui", "postgres", *(["s3"] if options.s3 else [])]
    with tempfile.TemporaryDirectory(prefix="comfybridge-crashes-", ignore_cleanup_errors=True) as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        report = crash(
            folder,
            kills=options.kills,
            jobs=options.jobs,
            seed=options.seed,
            kinds=kinds,
            s3=options.s3,
            pause_s=options.pause,
        )
    sys.stdout.write(f"{report}\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
