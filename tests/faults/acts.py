"""What is done to a server, a relay or a job while a scenario plays, and the graphs that are run."""

import time
from typing import Any

from comfybridge.deadline import Deadline
from tests.contract import graphs
from tests.contract.server import eventually
from tests.faults.play import Play

DAY_S = 86400.0
_MOMENT_S = 0.3


def restart_slowly(play: Play) -> None:
    play.kill()
    play.later(5.0, play.come_back)


def refuse_for_a_moment(play: Play) -> None:
    play.relay.refuse()
    time.sleep(_MOMENT_S)
    play.relay.accept()


def freeze(play: Play) -> None:
    play.server.freeze()


def freeze_for_a_moment(play: Play) -> None:
    play.server.freeze()
    time.sleep(_MOMENT_S)
    play.server.thaw()


def kill_worker(play: Play) -> None:
    play.server.kill_worker()


def kill_worker_behind_blocker(play: Play) -> None:
    play.server.kill_worker()
    play.unblock()


def steal_client_id(play: Play) -> None:
    """A second socket with our id gets our events; when it ends, the server forgets both."""
    play.server.wire.connect(play.relay.client_ids[-1]).close()


def use_up_a_socket(play: Play) -> None:
    """The client has had a socket before, which was cut."""
    with play.client.listen("earlier", Deadline(5)) as listener:
        eventually(lambda: not listener.was_connected_throughout)


def delete(play: Play) -> None:
    play.server.wire.post("/queue", json={"delete": [play.prompt_id]})


def clear_queue(play: Play) -> None:
    play.server.wire.post("/queue", json={"clear": True})


def interrupt(play: Play) -> None:
    play.server.wire.post("/interrupt")


def interrupt_blocker(play: Play) -> None:
    play.server.wire.post("/interrupt", json={"prompt_id": play.blocker})


def clear_history(play: Play) -> None:
    play.server.wire.post("/history", json={"clear": True})


def clear_finished_history(play: Play) -> None:
    play.until_finished()
    clear_history(play)


def fill_history(play: Play) -> None:
    play.simulator.tell("history_size", 1)
    for _ in range(3):
        play.server.wire.run(graphs.solid(), client_id="somebody")


def push_out_of_history(play: Play) -> None:
    play.until_finished()
    fill_history(play)


def set_clock(jump_s: float) -> None:
    real = time.time
    time.time = lambda: real() + jump_s


def warm_up_partly(play: Play) -> None:
    play.warm_up()
    assert play.warm is not None
    play.warm["2"]["inputs"]["filename_prefix"] += "-again"


def warm_up_and_remove(play: Play) -> None:
    play.warm = graphs.solid(color=play.color)
    entry = play.server.wire.run(play.warm, client_id="warm")
    (image,) = entry["outputs"]["2"]["images"]
    (play.server.output_folder / image["subfolder"] / image["filename"]).unlink()


# Graphs


def saved_by(play: Play, class_type: str, **inputs: Any) -> dict[str, Any]:
    prompt = graphs.solid(color=play.color)
    prompt["2"] = {"class_type": class_type, "inputs": {"images": ["1", 0], **inputs}}
    return prompt


def sent_only(play: Play) -> Any:
    return saved_by(play, "SaveImageWebsocket")


def previews(play: Play) -> Any:
    return saved_by(play, "PreviewImage")


def text(_play: Play) -> Any:
    return {"1": {"class_type": "PreviewAny", "inputs": {"source": graphs.unique()}}}


def too_small(play: Play) -> Any:
    prompt = graphs.solid(color=play.color)
    prompt["1"]["inputs"]["width"] = 0
    return prompt


def unknown_node(play: Play) -> Any:
    return saved_by(play, "SaveImageToTheMoon")


def broken_picture(play: Play) -> Any:
    """LoadImage takes the name and fails at the bytes."""
    name = f"faults-{graphs.unique()}.png"
    play.server.wire.upload(name, b"\x89PNG\r\n\x1a\n broken")
    return {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}
