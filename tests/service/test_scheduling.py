"""What becomes of jobs that fail, run too long, or take their server with them."""

import time
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg

from comfybridge.service.database import QUEUED, WORK, work_of
from comfybridge.service.gateway.state import Options
from comfybridge.service.limits import Limits
from comfybridge.service.worker.limiting import RunTime
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure, OutOfMemory, Respond
from tests.contract import graphs
from tests.contract.server import eventually
from tests.service.fleet import fleet
from tests.service.running import worker

NEVER_S = (3600.0, 3600.0)


def test_sick_server_is_set_aside_tried_and_back(postgres: str, tmp_path: Path) -> None:
    with Simulator() as ill, Simulator() as well, fleet(postgres, tmp_path, [well.url]) as over:
        ill.inject(NodeFailure("SaveImage"))
        with worker(over.url, tmp_path, ill.url, aside_s=NEVER_S):
            eventually(lambda: over.rows("SELECT 1 FROM servers WHERE url = %s AND health = 'well'", ill.url))

            def is_set_aside() -> bool:
                jobs = [over.submit(graphs.solid()) for _ in range(4)]
                assert [over.outcome(job) for job in jobs] == ["succeeded"] * 4
                return over.health(ill.url) == "sick"

            eventually(is_set_aside)
            reason, reason_zh = over.row("SELECT reason, reason_zh FROM servers WHERE url = %s", ill.url)
            assert reason.startswith("Set aside")
            assert reason_zh.startswith("已暂停使用")
            taken = ill.count("POST", "/prompt")
            jobs = [over.submit(graphs.solid()) for _ in range(6)]
            assert [over.outcome(job) for job in jobs] == ["succeeded"] * 6
            assert ill.count("POST", "/prompt") == taken

        # Its next worker knows; when the pause is over one job is its trial.
        ill.heal()
        over.rows("UPDATE servers SET aside_until = now() WHERE url = %s RETURNING url", ill.url)
        well.hold()
        with worker(over.url, tmp_path, ill.url, aside_s=NEVER_S):
            # One waits for the held server, behind the one that it runs: the trial is of the others.
            jobs = [over.submit(graphs.solid()) for _ in range(4)]
            eventually(lambda: over.health(ill.url) == "well")
            well.release()
            assert [over.outcome(job) for job in jobs] == ["succeeded"] * 4
        assert ill.count("POST", "/prompt") > taken


def test_node_that_fails_everywhere_makes_nobody_sick(postgres: str, tmp_path: Path) -> None:
    with Simulator() as one, Simulator() as other, fleet(postgres, tmp_path, [one.url, other.url]) as over:
        for comfyui in (one, other):
            comfyui.inject(NodeFailure("SaveImage", message="disk on fire"))

        jobs = [over.submit(graphs.solid()) for _ in range(4)]

        assert [over.outcome(job) for job in jobs] == ["failed"] * 4
        assert one.count("POST", "/prompt") == other.count("POST", "/prompt") == 4
        assert "disk on fire" in over.row("SELECT reason ->> 'en' FROM jobs WHERE prompt_id = %s", jobs[0])[0]
        assert over.rows("SELECT FROM failures WHERE NOT is_forgiven") == []


def test_out_of_memory_is_freed_once_then_goes_to_a_larger_server(postgres: str, tmp_path: Path) -> None:
    with Simulator(memory=8) as small, fleet(postgres, tmp_path, [small.url]) as over:
        small.inject(OutOfMemory(), times=1)
        assert over.outcome(over.submit(graphs.solid())) == "succeeded"
        assert small.count("POST", "/free") == 1

        small.inject(NodeFailure("SaveImage", exception_type="torch.OutOfMemoryError"))
        alone = over.submit(graphs.solid())
        assert over.outcome(alone) == "failed"
        assert "no server with more" in over.row("SELECT reason ->> 'en' FROM jobs WHERE prompt_id = %s", alone)[0]
        assert small.count("POST", "/prompt") == 4

        with Simulator(memory=16) as larger, worker(over.url, tmp_path, larger.url):
            eventually(lambda: over.rows("SELECT 1 FROM servers WHERE url = %s AND health = 'well'", larger.url))
            larger.hold()
            jobs = [over.submit(graphs.solid()) for _ in range(2)]
            # Whichever the small server took first: both come to be there.
            eventually(lambda: larger.pending)
            larger.release()
            assert [over.outcome(job) for job in jobs] == ["succeeded"] * 2
            assert over.row("SELECT sum(moves) FROM jobs")[0] >= 1
            assert over.health(small.url) == "well"
            assert larger.history.keys() >= set(jobs)


def test_job_that_kills_its_server_is_given_up(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, fleet(postgres, tmp_path, [comfyui.url], pause_s=0.01) as over:
        comfyui.hold()
        over.rows("UPDATE servers SET mode = 'paused' RETURNING url")
        job = over.submit(graphs.solid())
        # The first of its three attempts, to save the time.
        over.rows("UPDATE jobs SET attempts = 1 RETURNING prompt_id")
        over.rows("UPDATE servers SET mode = 'active' RETURNING url")
        for _ in range(2):
            eventually(lambda: over.rows("SELECT 1 FROM jobs WHERE prompt_id = %s AND state = 'running'", job))
            comfyui.forget()
            comfyui.hold()
            eventually(lambda: comfyui.running or over.rows("SELECT 1 FROM jobs WHERE state = 'ended'"))
        assert over.outcome(job) == "failed"
        reason, reason_zh = over.row("SELECT reason ->> 'en', reason ->> 'zh' FROM jobs")
        assert reason.startswith("Given up after 3 attempts")
        assert reason_zh.startswith("尝试 3 次后放弃")
        comfyui.release()


def test_job_that_kills_its_worker_is_given_up(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, fleet(postgres, tmp_path, []) as over:
        with worker(over.url, tmp_path, comfyui.url):
            eventually(lambda: over.rows("SELECT 1 FROM servers WHERE health = 'well'"))
            comfyui.hold()
            job = over.submit(graphs.solid())
            eventually(lambda: over.rows("SELECT 1 FROM jobs WHERE state = 'running'"))
        # Who ends in order hands over, and nobody asks what it died of.
        assert over.row("SELECT worker FROM jobs") == ("",)
        with worker(over.url, tmp_path, comfyui.url):
            eventually(lambda: over.row("SELECT worker FROM jobs") != ("",))
            assert over.row("SELECT adoptions, state FROM jobs") == (0, "running")

        over.rows("UPDATE jobs SET worker = 'killed', adoptions = 5 RETURNING prompt_id")
        with worker(over.url, tmp_path, comfyui.url):
            assert over.outcome(job) == "failed"
        assert over.row("SELECT reason ->> 'en' FROM jobs")[0].startswith("Given up after 6 attempts")
        comfyui.wait_for("idle")
        comfyui.release()


def test_only_running_counts_for_the_limit(postgres: str, tmp_path: Path) -> None:
    limits = Limits(of_all=1.0, of_template={"sdxl": 0.05})
    with Simulator() as comfyui, fleet(postgres, tmp_path, [comfyui.url], Options(limits=limits)) as over:
        comfyui.hold()
        slow = over.submit(graphs.solid())
        comfyui.wait_for("running")
        quick = over.submit(graphs.solid(), "sdxl@1")

        assert over.outcome(slow) == over.outcome(quick) == "timed_out"
        reasons = dict(over.rows("SELECT prompt_id, reason ->> 'en' FROM jobs"))
        assert reasons[slow] == "The job ran longer than the limit, 1 s, and was interrupted."
        assert reasons[quick] == "The job ran longer than the limit for sdxl@1, 0.05 s, and was interrupted."
        # Though it waited for longer than it may run, ComfyUI began with it.
        comfyui.wait_for(lambda _: {slow, quick} <= comfyui.history.keys())
        assert over.server.history(quick)["status"]["status_str"] == "error"  # type: ignore[index]  # it is there
        comfyui.release()


def test_limit_begins_with_the_run() -> None:
    limit = RunTime(0.01)
    time.sleep(0.02)
    assert not limit.has_passed()
    limit.begin()
    time.sleep(0.02)
    assert limit.has_passed()
    limit.end()
    assert not limit.has_passed()
    limit.begin(ran_s=1.0)
    assert limit.has_passed()


def test_server_that_does_not_stop_gets_nothing_more(postgres: str, tmp_path: Path) -> None:
    limits = Limits(of_template={"sd15": 0.5})
    with Simulator() as comfyui, fleet(postgres, tmp_path, [comfyui.url], Options(limits=limits), grace_s=0.5) as over:
        comfyui.inject(Respond("/interrupt", status=200))
        comfyui.hold()
        slow = over.submit(graphs.solid(), "sd15@1")
        comfyui.wait_for("running")
        waiting = over.submit(graphs.solid())

        assert over.outcome(slow) == "timed_out"
        # What waits behind it is taken out again, for another server if there were one.
        eventually(lambda: over.rows("SELECT 1 FROM servers WHERE health = 'sick' AND reason LIKE '%%does not stop%%'"))
        comfyui.wait_for(lambda _: not comfyui.pending)
        eventually(lambda: over.rows("SELECT 1 FROM jobs WHERE prompt_id = %s AND state = 'queued'", waiting))

        comfyui.heal()
        comfyui.release()
        assert over.outcome(waiting) == "succeeded"
        eventually(lambda: over.health(comfyui.url) == "well")


def test_job_is_told_to_the_server_that_can_begin_it(postgres: str, tmp_path: Path) -> None:
    is_held = "SELECT 1 FROM jobs WHERE prompt_id = %s AND state IN ('claimed', 'running')"
    held = "SELECT url, (SELECT count(*) FROM jobs WHERE server = url AND state IN ('claimed', 'running')) FROM servers"
    with (
        Simulator() as one,
        Simulator() as other,
        fleet(postgres, tmp_path, [one.url, other.url]) as over,
        psycopg.connect(over.url, autocommit=True) as listening,
    ):
        for channel in (QUEUED, WORK, work_of(one.url), work_of(other.url)):
            listening.execute(f"LISTEN {channel}".encode())
        for comfyui in (one, other):
            comfyui.hold()
        jobs = []
        for least in (0, 0, 1, 1):
            able = {work_of(url) for url, count in over.rows(held) if count == least}
            jobs.append(over.submit(graphs.solid()))
            told = _told_after_queued(listening)
            assert (told.channel in able, told.payload) == (True, jobs[-1])
            eventually(partial(over.rows, is_held, jobs[-1]))
        # Each has one that runs and one that waits: nobody in particular is told.
        jobs.append(over.submit(graphs.solid()))
        told = _told_after_queued(listening)
        assert (told.channel, told.payload) == (WORK, "")
        for comfyui in (one, other):
            comfyui.release()
        assert [over.outcome(job) for job in jobs] == ["succeeded"] * 5


def _told_after_queued(listening: psycopg.Connection) -> psycopg.Notify:
    """What workers are told of a job that came, in the same statement as others, so that nothing comes between."""
    with closing(listening.notifies(timeout=60)) as notices:
        next(notice for notice in notices if notice.channel == QUEUED)
        return next(notices)
