"""The part of the fault suite that waits for little; ``make faults`` plays all of it."""

import dataclasses
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from comfybridge import client, events, jobs, transport, watch
from tests.faults import crowds, secrets, table
from tests.faults.broken_http import LATE_S, SHORT_S
from tests.faults.play import End, Scenario, Stage, play
from tests.faults.scenarios import all_scenarios
from tests.faults.server import Simulated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="freezes processes and limits their files as Linux can")
# Between finish and fetch a call waits for its deadline as it does while its job runs.
FAST = [
    each for each in all_scenarios() if each.is_fast and (each.wanted, each.stage) != (End.TIMED_OUT, Stage.FINISHED)
]


@pytest.fixture(scope="module")
def server() -> Iterator[Simulated]:
    with Simulated() as simulated:
        yield simulated


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Shorten the waits that only spare a server's time; keep the proxies of the developer's machine out."""
    caplog.set_level(logging.DEBUG, secrets.LOGGER.name)
    for module, name, value in (
        (watch, "_LOOK_EVERY_S", 0.2),
        (watch, "_POLL_FIRST_S", 0.05),
        (watch, "_POLL_SLOWEST_S", 0.2),
        (watch, "_GRACE_S", 0.2),
        (watch, "_GONE_AFTER_S", 0.5),
        (events, "_DEAF_AFTER_S", 0.2),
        (client, "_LOOK_AFTER_S", 0.05),
        (client, "_AGAIN_AFTER_S", 0.05),
        (client, "_AWAY_S", 0.3),
        (jobs, "_FETCH_PAUSE_S", 0.02),
        (jobs, "_AWAY_S", 0.3),
        (transport, "LARGEST_ANSWER", 1 << 20),
    ):
        monkeypatch.setattr(module, name, value)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("scenario", FAST, ids=lambda scenario: scenario.name)
def test_call_ends_right(scenario: Scenario, server: Simulated) -> None:
    deadline_s = {SHORT_S: 0.7, LATE_S: 2.0}.get(scenario.deadline_s, scenario.deadline_s)
    scenario = dataclasses.replace(scenario, deadline_s=deadline_s)
    assert play(scenario, server).wrong == []


def test_lost_answers_to_submissions_make_no_second_jobs(server: Simulated) -> None:
    assert crowds.repeat_after_lost_answers(server, 10) == []


def test_failing_jobs_leave_nothing_open(server: Simulated) -> None:
    assert crowds.fail_often(server, 50) == []


def test_crowd_behind_a_bad_line_ends_right(server: Simulated) -> None:
    assert crowds.crowd(server, 64, 0.1) == []


def test_every_scenario_has_a_name_of_its_own() -> None:
    names = [scenario.name for scenario in all_scenarios()]

    assert sorted(set(names)) == sorted(names)


def test_readme_lists_exactly_the_scenarios() -> None:
    assert table.written(table.README.read_text(encoding="utf-8")) == table.table(all_scenarios())
