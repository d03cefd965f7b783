"""Several servers behind one address line, in the plugin's real process."""

from concurrent.futures import ThreadPoolExecutor

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.simulator.faults import Delay, NodeFailure
from tests.core.raw_server import closed_port

SMALL = {"prompt": "a fox", "template": "sd15", "size": "custom", "width": 64, "height": 64}


def test_many_calls_share_the_servers_that_are_well(daemon: PluginDaemon) -> None:
    with Simulator() as one, Simulator() as two, Simulator() as frozen, closed_port() as dead:
        frozen.inject(Delay(seconds=20))
        credentials = {"base_url": f"{frozen.url},{dead},{one.url},{two.url}"}

        def call(seed: int) -> Answer:
            return daemon.call_tool("comfyui", "text2image", {**SMALL, "seed": str(seed)}, credentials=credentials)

        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(call, range(16)))

        assert [len(answer.files) for answer in answers] == [1] * 16
        assert one.count("POST", "/prompt") + two.count("POST", "/prompt") == 16
        assert min(one.count("POST", "/prompt"), two.count("POST", "/prompt")) >= 5
        assert frozen.count("GET", "/prompt") + one.count("GET", "/prompt") + two.count("GET", "/prompt") <= 12

        (found,) = daemon.call_tool(
            "comfyui", "get_result", {"prompt_id": answers[3].variables["prompt_id"]}, credentials=credentials
        ).files
        assert found.data == answers[3].files[0].data


def test_job_that_fails_on_one_server_is_made_on_another(daemon: PluginDaemon) -> None:
    with Simulator() as broken, Simulator() as well:
        broken.inject(NodeFailure("VAEDecode"))

        answer = daemon.call_tool("comfyui", "text2image", SMALL, credentials={"base_url": f"{broken.url},{well.url}"})

        assert len(answer.files) == 1
        assert answer.variables["prompt_id"] == next(iter(well.history))
