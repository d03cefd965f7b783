import time

import pytest

from comfybridge.deadline import Deadline


def test_remaining_counts_down_and_is_never_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    deadline = Deadline(5)

    now = 1002.0
    assert deadline.remaining() == 3.0
    assert not deadline.has_passed()

    now = 1006.0
    assert deadline.remaining() == 0.0
    assert deadline.has_passed()


def test_deadline_remembers_what_was_asked_for() -> None:
    assert Deadline(240).seconds == 240
