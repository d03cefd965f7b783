import time

import pytest

from comfybridge.deadline import Deadline
from comfybridge.errors import Unavailable
from comfybridge.pool import Pool
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import Respond
from tests.core.making import Connect
from tests.core.raw_server import RawServer, closed_port


def queued(comfyui: Simulator, connect: Connect, number: int, deadline: Deadline) -> None:
    """Fill a held server's queue."""
    comfyui.hold(queued=True)
    client = connect(comfyui.url)
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    for each in range(number):
        client.queue_prompt(prompt, prompt_id=f"p{each}", client_id="c", extra_data={}, deadline=deadline)


def test_pool_without_a_server_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="a pool needs a server"):
        Pool([])


def test_only_server_is_not_asked_how_busy_it_is(comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
    client = connect(comfyui.url)

    assert list(Pool([client]).candidates(deadline)) == [client]
    assert comfyui.requests == []


def test_least_busy_server_comes_first(comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
    with Simulator() as other:
        queued(comfyui, connect, 2, deadline)
        busy, idle = connect(comfyui.url), connect(other.url)

        assert list(Pool([busy, idle]).candidates(deadline)) == [idle, busy]


def test_equally_busy_servers_keep_their_order(comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
    with Simulator() as other:
        first, second = connect(comfyui.url), connect(other.url)

        assert list(Pool([first, second]).candidates(deadline)) == [first, second]


def test_dead_server_is_left_out(comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
    with closed_port() as url:
        alive = connect(comfyui.url)

        assert list(Pool([connect(url), alive]).candidates(deadline)) == [alive]


def test_several_dead_servers_are_unavailable(connect: Connect, deadline: Deadline) -> None:
    with closed_port() as one, closed_port() as two:
        pool = Pool([connect(one), connect(two)])

        with pytest.raises(Unavailable, match="refuses the connection"):
            list(pool.candidates(deadline))


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b"null", b'{"exec_info": null}', b'{"exec_info": {"queue_remaining": null}}', b"<html>"]
)
def test_server_that_is_no_comfyui_is_left_out(
    body: bytes, comfyui: Simulator, connect: Connect, deadline: Deadline
) -> None:
    with Simulator() as other:
        other.inject(Respond(path="/prompt", body=body, content_type="application/json"))
        alive = connect(comfyui.url)

        assert list(Pool([connect(other.url), alive]).candidates(deadline)) == [alive]


def test_frozen_server_does_not_eat_the_deadline(comfyui: Simulator, connect: Connect) -> None:
    with RawServer(lambda _: None) as frozen:
        alive = connect(comfyui.url)
        deadline = Deadline(20)
        started = time.monotonic()

        assert list(Pool([connect(frozen.url), alive]).candidates(deadline)) == [alive]
        assert time.monotonic() - started < 12
