import pytest

from comfybridge.errors import (
    Cancelled,
    ComfyError,
    Failed,
    InvalidInput,
    Lost,
    OutOfMemory,
    Rejected,
    TimedOut,
    Unavailable,
)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (Failed, "failed"),
        (OutOfMemory, "failed"),
        (Rejected, "rejected"),
        (Cancelled, "cancelled"),
        (TimedOut, "timed_out"),
        (Lost, "lost"),
        (InvalidInput, "rejected"),
    ],
)
def test_every_error_names_one_of_the_outcomes(kind: type[ComfyError], outcome: str) -> None:
    error = kind("it broke", "坏了")

    assert error.outcome == outcome
    assert str(error) == "it broke"
    assert error.zh == "坏了"
    assert (error.prompt_id, error.server) == (None, None)


def test_no_server_that_took_the_job_is_a_failure() -> None:
    error = Unavailable("is gone", "不在", server="http://gpu:8188", refused=True)

    assert error.outcome == "failed"
    assert error.server == "http://gpu:8188"
    assert error.refused


def test_about_names_job_and_server_where_they_are_not_named_yet() -> None:
    error = Failed("it broke", "坏了").about("p1", "http://gpu:8188")

    assert (error.prompt_id, error.server) == ("p1", "http://gpu:8188")


def test_about_keeps_what_is_named_already() -> None:
    error = Failed("it broke", "坏了", prompt_id="p1", server="http://one").about("p2", "http://two")

    assert (error.prompt_id, error.server) == ("p1", "http://one")
