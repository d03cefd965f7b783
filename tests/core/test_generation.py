import dataclasses
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from comfybridge import choosing, jobs, library, template, workflow
from comfybridge import client as client_module
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import (
    ComfyError,
    Failed,
    InvalidInput,
    Lost,
    OutOfMemory,
    Rejected,
    TimedOut,
    Unavailable,
)
from comfybridge.filling import Inputs
from comfybridge.library import Named
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import Delay, DropConnection, NodeFailure, Respond
from comfybridge.simulator.faults import OutOfMemory as NoMemory
from comfybridge.template import Template
from comfybridge.workflow import Definitions, InputRef, Lora, Roles
from tests.core.making import Connect, generate, make, sort
from tests.core.raw_server import RawServer, closed_port

SDXL = {"modelspec.architecture": "stable-diffusion-xl-v1-base"}
AWKWARD = ' "quoted" \\ back\\nslash\nnew line\t{brace} nbsp\u00a0 猫 🦊 e\u0301 \u200d </s> $(x) %s \u0000 '


@pytest.fixture
def client(comfyui: Simulator, connect: Connect) -> Client:
    return connect(comfyui.url)


@pytest.fixture
def no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A library of one template that makes one picture at a time: tracing does not find its batch."""
    prompt = library.load("sd15").prompt
    sidecar = {
        "title": {"en_US": "Singles"},
        "about": {"en_US": "One at a time."},
        "task": "text2image",
        "order": 1,
        "comfyui": "0.3.45",
        "requires": [
            {
                "folder": "checkpoints",
                "file": "v1-5-pruned-emaonly-fp16.safetensors",
                "huggingface": "https://huggingface.co/x",
                "modelscope": "https://modelscope.cn/x",
            }
        ],
        "size": {"grid": 8, "pixels": 4096},
    }
    (tmp_path / "singles.json").write_text(json.dumps(prompt), encoding="utf-8")
    (tmp_path / "singles.yaml").write_text(yaml.safe_dump(sidecar), encoding="utf-8")
    traced = template.Template.roles

    def without_batch(self: Template, definitions: Definitions) -> Roles:
        roles = traced(self, definitions)
        inputs = {role: refs for role, refs in roles.inputs.items() if role != "batch"}
        return dataclasses.replace(roles, inputs=inputs)

    monkeypatch.setattr(template.Template, "roles", without_batch)
    monkeypatch.setattr(library, "_FOLDERS", (tmp_path,))
    library.templates.cache_clear()
    yield "singles"
    library.templates.cache_clear()


def fails(clients: Any, **wishes: Any) -> ComfyError:
    with pytest.raises(ComfyError) as raised:
        make(clients, **wishes)
    return raised.value


def graphs(comfyui: Simulator) -> list[dict[str, Any]]:
    return [request.body["prompt"] for request in comfyui.received("POST", "/prompt")]


class TestGenerate:
    @pytest.mark.parametrize("name", ["z-image-turbo", "sdxl", "sd15"])
    def test_every_template_makes_a_picture(self, name: str, client: Client) -> None:
        made = make(client, name=name)

        assert [file.mime for file in made.files] == ["image/png"]
        assert made.outcome is not None
        assert made.outcome.jobs[0].filled.template.name == name
        assert made.outcome.seconds > 0

    def test_prompt_arrives_byte_for_byte(self, comfyui: Simulator, client: Client) -> None:
        make(client, positive=AWKWARD, negative=AWKWARD[::-1])

        (graph,) = graphs(comfyui)
        assert graph["6"]["inputs"]["text"] == AWKWARD
        assert graph["7"]["inputs"]["text"] == AWKWARD[::-1]

    def test_values_of_the_caller_are_in_the_graph(self, comfyui: Simulator, client: Client) -> None:
        made = make(client, seed=2**60, steps=3, cfg=2.5, sampler="heun", loras=(Lora("ink_sketch", 0.4),))

        (graph,) = graphs(comfyui)
        assert {key: graph["3"]["inputs"][key] for key in ("seed", "steps", "cfg", "sampler_name")} == {
            "seed": 2**60,
            "steps": 3,
            "cfg": 2.5,
            "sampler_name": "heun",
        }
        assert graph["lora1"]["inputs"]["lora_name"] == "ink_sketch.safetensors"
        assert made.outcome is not None
        assert made.outcome.jobs[0].filled.seed == 2**60

    def test_batch_is_one_prompt_and_several_pictures(self, comfyui: Simulator, client: Client) -> None:
        made = make(client, count=3)

        assert len({file.data for file in made.files}) == 3
        assert comfyui.count("POST", "/prompt") == 1

    def test_extra_data_of_the_caller_goes_along(self, comfyui: Simulator, client: Client) -> None:
        pool_run = generate(client)
        sort(pool_run)

        assert comfyui.received("POST", "/prompt")[0].body["extra_data"]["comfybridge"] == {"template": "sd15@1"}

    def test_nothing_happens_before_the_first_item_is_asked_for(self, comfyui: Simulator, client: Client) -> None:
        generate(client)

        assert comfyui.requests == []

    def test_warm_picture_takes_at_most_five_requests(self, comfyui: Simulator, client: Client) -> None:
        make(client)
        before = len(comfyui.requests)

        for _ in range(3):
            make(client)

        assert len(comfyui.requests) - before <= 15

    def test_warm_auto_picture_takes_at_most_five_requests(self, comfyui: Simulator, client: Client) -> None:
        make(client, name="auto")
        before = len(comfyui.requests)

        make(client, name="auto")

        assert len(comfyui.requests) - before <= 5

    def test_unknown_template_sends_nothing(self, comfyui: Simulator, client: Client) -> None:
        error = fails(client, name="no-such")

        assert isinstance(error, InvalidInput)
        assert "Choose one of: auto, " in str(error)
        assert comfyui.count("POST", "/prompt") == 0

    def test_unknown_sampler_is_rejected_before_sending(self, comfyui: Simulator, client: Client) -> None:
        error = fails(client, sampler="euler_anc")

        assert error.outcome == "rejected"
        assert "'euler_ancestral'" in str(error)
        assert comfyui.count("POST", "/prompt") == 0

    def test_unreachable_server_is_unavailable(self, connect: Connect) -> None:
        with closed_port() as url:
            error = fails(connect(url))

        assert isinstance(error, Unavailable)
        assert (error.server, error.prompt_id) == (url, None)

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_caller_that_stops_listening_leaves_nothing_open(self, after: int, client: Client) -> None:
        items = generate(client)
        for _ in range(after):
            next(items)

        items.close()

        assert client._events is None or client._events._listeners == {}


class TestOutOfMemory:
    def test_memory_is_freed_and_the_second_try_succeeds(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NoMemory(), times=1)

        made = make(client)

        assert len(made.files) == 1
        assert comfyui.received("POST", "/free")[0].body == {"unload_models": True, "free_memory": True}
        assert made.outcome is not None
        assert made.outcome.jobs[0].prompt_id == list(comfyui.history)[-1]
        first, second = graphs(comfyui)
        prefix = InputRef("9", "filename_prefix")
        assert workflow.fill(first, {prefix: ""}) == workflow.fill(second, {prefix: ""})

    def test_second_failure_is_the_end(
        self, comfyui: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(comfyui._faults, "heal", lambda _kind: None)
        comfyui.inject(NoMemory(), times=2)

        error = fails(client)

        assert isinstance(error, OutOfMemory)
        assert error.outcome == "failed"
        assert "The GPU has too little memory: use a smaller size" in str(error)
        assert "显存不足" in error.zh
        assert error.prompt_id == list(comfyui.history)[-1]
        assert comfyui.count("POST", "/prompt") == 2
        assert comfyui.count("POST", "/free") == 1

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("RuntimeError", "CUDA error: out of memory"),
            ("torch.cuda.OutOfMemoryError", "Tried to allocate 2.00 GiB"),
            ("RuntimeError", "HIP out of memory. Tried to allocate"),
            ("RuntimeError", "MPS backend out of memory"),
        ],
    )
    def test_other_backends_words_are_understood(
        self, kind: str, message: str, comfyui: Simulator, client: Client
    ) -> None:
        comfyui.inject(NodeFailure("3", kind, message), times=1)

        assert len(make(client).files) == 1
        assert comfyui.count("POST", "/free") == 1

    @pytest.mark.parametrize("status", [404, 500, 502])
    def test_memory_that_cannot_be_freed_leaves_the_first_error(
        self, status: int, comfyui: Simulator, client: Client
    ) -> None:
        comfyui.inject(NoMemory(), times=1)
        comfyui.inject(Respond(path="/free", status=status))

        error = fails(client)

        assert isinstance(error, OutOfMemory)
        assert [error.prompt_id] == list(comfyui.history)

    def test_other_failures_get_no_second_try(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NodeFailure("3", "RuntimeError", "shapes do not match"), times=1)

        assert isinstance(fails(client), Failed)
        assert comfyui.count("POST", "/prompt") == 1


class TestCountWithoutBatch:
    def test_several_prompts_with_seeds_counting_up_are_queued(
        self, comfyui: Simulator, client: Client, no_batch: str
    ) -> None:

        made = make(client, name=no_batch, count=3, seed=10)

        assert len(made.files) == 3
        assert [graph["3"]["inputs"]["seed"] for graph in graphs(comfyui)] == [10, 11, 12]
        assert made.outcome is not None
        assert [job.prompt_id for job in made.outcome.jobs] == list(comfyui.history)

    def test_rest_is_cancelled_when_one_fails(self, comfyui: Simulator, client: Client, no_batch: str) -> None:
        comfyui.hold(queued=True)
        comfyui.inject(NodeFailure("8"), times=1)
        items = generate(client, name=no_batch, count=4)
        next(items)
        comfyui.hold()
        comfyui.release()

        with pytest.raises(Failed) as raised:
            sort(items)

        comfyui.wait_for("idle")
        assert raised.value.prompt_id == next(iter(comfyui.history))
        assert comfyui.pending == []

    def test_nothing_stays_queued_when_one_is_not_taken(
        self, comfyui: Simulator, client: Client, no_batch: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        comfyui.hold(queued=True)
        accepted = iter([True, True, False])
        take = client.queue_prompt

        def second_thoughts(*args: Any, **named: Any) -> Any:
            if not next(accepted):
                comfyui.inject(Respond(path="/prompt", method="POST", status=403), times=1)
            return take(*args, **named)

        monkeypatch.setattr(client, "queue_prompt", second_thoughts)

        assert isinstance(fails(client, name=no_batch, count=3), Unavailable)
        assert (comfyui.pending, comfyui.running) == ([], [])

    def test_deadline_leaves_all_of_them_queued(self, comfyui: Simulator, client: Client, no_batch: str) -> None:
        comfyui.hold(queued=True)

        error = fails(client, name=no_batch, count=3, timeout_s=3)

        assert isinstance(error, TimedOut)
        assert len(comfyui.pending) == 3
        assert error.prompt_id in comfyui.pending

    def test_frozen_server_does_not_delay_the_end_of_a_failure(
        self, comfyui: Simulator, client: Client, no_batch: str
    ) -> None:
        comfyui.hold()
        comfyui.inject(NodeFailure("9"), times=1)
        comfyui.inject(Delay(path="/queue", seconds=20))
        items = generate(client, name=no_batch, count=3, timeout_s=5)
        next(items)
        started = time.monotonic()
        comfyui.release()

        with pytest.raises(Failed):
            sort(items)

        assert time.monotonic() - started < 12


class TestAuto:
    def test_choice_for_one_model_is_not_that_for_another(self, comfyui: Simulator, connect: Connect) -> None:
        client = connect(comfyui.url)
        wanted = (None, "v1-5-pruned-emaonly-fp16", None, "sd_xl_base", "sd_xl_base", None)

        chosen = [
            choosing.choose(client, Named("auto"), Inputs(positive="a fox", model=model), Deadline(5))[0].name
            for model in wanted
        ]

        assert chosen == ["z-image-turbo", "sd15", "z-image-turbo", "sdxl", "sdxl", "z-image-turbo"]

    @pytest.mark.parametrize(
        ("models", "name", "model"),
        [
            (("z-image-turbo", "sdxl", "sd15"), "z-image-turbo", "z_image_turbo_bf16.safetensors"),
            (("sdxl", "sd15"), "sdxl", "sd_xl_base_1.0.safetensors"),
            (("sd15",), "sd15", "v1-5-pruned-emaonly-fp16.safetensors"),
            ({"checkpoints": ["juggernautXL_v9.safetensors"]}, "sdxl", "juggernautXL_v9.safetensors"),
            ({"checkpoints": ["dreamshaper_8.safetensors"]}, "sd15", "dreamshaper_8.safetensors"),
            ({"checkpoints": {"my mix.safetensors": SDXL}}, "sdxl", "my mix.safetensors"),
            (
                {"checkpoints": {"a_refiner_xl.safetensors": SDXL, "sub/b_xl.safetensors": None}},
                "sdxl",
                "sub/b_xl.safetensors",
            ),
        ],
        ids=["all", "sdxl", "sd15", "xl by name", "sd15 by name", "by metadata", "refiner left out"],
    )
    def test_template_is_chosen_by_what_the_server_has(
        self, models: Any, name: str, model: str, connect: Connect
    ) -> None:
        with Simulator(models=models) as comfyui:
            made = make(connect(comfyui.url), name="auto")

        assert made.outcome is not None
        filled = made.outcome.jobs[0].filled
        assert (filled.template.name, filled.model) == (name, model)

    @pytest.mark.parametrize(
        ("wanted", "name", "model"),
        [
            ("sd_xl_base", "sdxl", "sd_xl_base_1.0.safetensors"),
            ("v1-5", "sd15", "v1-5-pruned-emaonly-fp16.safetensors"),
            ("z_image_turbo", "z-image-turbo", "z_image_turbo_bf16.safetensors"),
        ],
    )
    def test_named_model_decides_the_template(self, wanted: str, name: str, model: str, client: Client) -> None:
        made = make(client, name="auto", model=wanted)

        assert made.outcome is not None
        filled = made.outcome.jobs[0].filled
        assert (filled.template.name, filled.model) == (name, model)

    def test_unknown_model_names_the_nearest_and_the_templates(self, client: Client) -> None:
        error = fails(client, name="auto", model="sd_xl_bose_x")

        assert isinstance(error, InvalidInput)
        assert str(error).startswith("The model 'sd_xl_bose_x' is not on the server. Nearest of 3: ")
        assert "sd_xl_base_1.0.safetensors" in str(error)

    def test_model_that_fits_no_template_asks_for_one(self, connect: Connect) -> None:
        with Simulator(models={"checkpoints": ["mystery.safetensors"]}) as comfyui:
            error = fails(connect(comfyui.url), name="auto", model="mystery")

        assert isinstance(error, InvalidInput)
        assert "cannot be told from its metadata or its name. Templates to choose from: z-image-turbo, sdxl" in str(
            error
        )

    def test_server_without_models_says_what_to_install(self, connect: Connect) -> None:
        with Simulator(models={}) as comfyui:
            error = fails(connect(comfyui.url), name="auto")

        assert isinstance(error, InvalidInput)
        assert "z_image_turbo_bf16.safetensors into models/diffusion_models" in str(error)
        assert "modelscope.cn" in str(error)

    def test_named_template_without_its_model_is_rejected_with_advice(self, connect: Connect) -> None:
        with Simulator(models=["sd15"]) as comfyui:
            error = fails(connect(comfyui.url), name="sdxl")

        assert isinstance(error, Rejected)
        assert "'sd_xl_base_1.0.safetensors' is not on the server" in str(error)
        assert "sd_xl_base_1.0.safetensors into models/checkpoints" in str(error)

    def test_named_template_takes_any_named_model(self, connect: Connect) -> None:
        with Simulator(models={"checkpoints": ["mystery.safetensors"]}) as comfyui:
            made = make(connect(comfyui.url), name="sdxl", model="mystery")

        assert made.outcome is not None
        assert made.outcome.jobs[0].filled.model == "mystery.safetensors"

    def test_metadata_of_many_models_is_not_all_read(self, connect: Connect) -> None:
        models = {"checkpoints": [f"unknown_{number:03}.safetensors" for number in range(200)]}
        with Simulator(models=models) as comfyui:
            error = fails(connect(comfyui.url), name="auto")
            looks = comfyui.count("GET", "/view_metadata/*")

        assert isinstance(error, InvalidInput)
        assert looks <= 60

    @pytest.mark.parametrize("status", [403, 500])
    def test_metadata_that_cannot_be_read_is_as_good_as_none(self, status: int, connect: Connect) -> None:
        with Simulator(models={"checkpoints": ["broken.safetensors", "juggernautXL_v9.safetensors"]}) as comfyui:
            comfyui.inject(Respond(path="/view_metadata/*", status=status))
            made = make(connect(comfyui.url), name="auto")

        assert made.outcome is not None
        assert made.outcome.jobs[0].filled.model == "juggernautXL_v9.safetensors"

    def test_model_installed_a_moment_ago_is_found(self, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_module, "_JUST_NOW_S", 0.0)
        with Simulator(models=["sd15"]) as before:
            client = connect(before.url)
            make(client)
            port = int(before.url.rpartition(":")[2])
        with Simulator(models=["sd15", "sdxl", "loras"], port=port):
            made = make(client, name="sdxl", loras=(Lora("film_grain"),))

        assert len(made.files) == 1


class TestSeveralServers:
    def test_less_busy_server_makes_the_picture(self, comfyui: Simulator, connect: Connect) -> None:
        with Simulator() as idle:
            comfyui.hold()
            first = generate(connect(comfyui.url))
            next(first)

            make([connect(comfyui.url), connect(idle.url)])

            assert idle.count("POST", "/prompt") == 1
            assert comfyui.count("POST", "/prompt") == 1
            first.close()

    def test_dead_server_is_passed_over(self, comfyui: Simulator, connect: Connect) -> None:
        with closed_port() as url:
            assert len(make([connect(url), connect(comfyui.url)]).files) == 1

    def test_frozen_server_is_passed_over(self, comfyui: Simulator, connect: Connect) -> None:
        with RawServer(lambda _: None) as frozen:
            started = time.monotonic()
            made = make([connect(frozen.url), connect(comfyui.url)], timeout_s=20)

        assert len(made.files) == 1
        assert time.monotonic() - started < 12

    @pytest.mark.parametrize("status", [401, 404, 429, 500, 502])
    def test_server_that_does_not_take_it_is_passed_over(
        self, status: int, comfyui: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "_LOOK_AFTER_S", 0.01)
        with Simulator() as broken:
            broken.inject(Respond(path="/prompt", method="POST", status=status))

            made = make([connect(broken.url), connect(comfyui.url)])

            assert len(made.files) == 1
            assert broken.history == {}

    def test_server_without_the_model_is_passed_over(self, connect: Connect) -> None:
        with Simulator(models=["sd15"]) as small, Simulator(models=["sdxl"]) as large:
            made = make([connect(small.url), connect(large.url)], name="sdxl")

            assert made.outcome is not None
            assert made.outcome.jobs[0].client.base_url == large.url
            assert small.count("POST", "/prompt") == 0

    def test_job_that_may_run_is_never_given_to_another_server(
        self, comfyui: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "_LOOK_AFTER_S", 0.01)
        with Simulator() as broken:
            broken.inject(DropConnection(path="/prompt", method="POST", after_accepting=True))
            broken.inject(DropConnection(path="/history/*"))
            broken.inject(DropConnection(path="/api/jobs/*"))

            error = fails([connect(broken.url), connect(comfyui.url)])

            assert isinstance(error, Lost)
            assert comfyui.count("POST", "/prompt") == 0

    def test_first_servers_reason_is_told(self, comfyui: Simulator, connect: Connect) -> None:
        with Simulator() as other:
            comfyui.inject(Respond(path="/prompt", method="POST", status=401))
            other.inject(Respond(path="/prompt", method="POST", status=413))

            error = fails([connect(comfyui.url), connect(other.url)])

        assert error.server == comfyui.url
        assert "HTTP 401" in str(error)


class TestManyAtOnce:
    def test_sixty_four_generations_at_once_all_end_right(self, comfyui: Simulator, client: Client) -> None:
        ends: dict[int, Any] = {}

        def work(number: int) -> None:
            try:
                made = make(client, seed=number, timeout_s=60)
                assert made.outcome is not None
                ends[number] = (made.outcome.jobs[0].prompt_id, made.files[0].data)
            except BaseException as error:  # noqa: BLE001  # whatever it is, the test shall show it
                ends[number] = error

        threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [end for end in ends.values() if isinstance(end, BaseException)] == []
        assert len(comfyui.history) == comfyui.count("POST", "/prompt") == 64
        for number, (prompt_id, data) in ends.items():
            entry = comfyui.history[prompt_id]
            (image,) = entry["outputs"]["9"]["images"]
            assert entry["prompt"][2]["3"]["inputs"]["seed"] == number
            assert data == (comfyui.folder / "output" / image["filename"]).read_bytes()
        assert comfyui.count("GET", "/ws") == 1

    def test_failures_leave_no_thread_and_no_socket(self, comfyui: Simulator) -> None:
        process = psutil.Process()
        comfyui.inject(NodeFailure("3"))
        fails_once(comfyui.url)
        before = descriptors_at_rest(process), threading.active_count()

        for _ in range(50):
            fails_once(comfyui.url)

        settle(lambda: threading.active_count() <= before[1])
        assert threading.active_count() <= before[1]
        settle(lambda: descriptors_at_rest(process) <= before[0] + 2)
        assert descriptors_at_rest(process) <= before[0] + 2

    def test_one_client_over_many_failures_keeps_one_socket(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NodeFailure("3"))

        for _ in range(30):
            fails(client)

        assert comfyui.count("GET", "/ws") == 1
        assert client._events is not None
        assert client._events._listeners == {}


def fails_once(url: str) -> None:
    client = Client(url)
    try:
        fails(client)
    finally:
        client.close()


def descriptors_at_rest(process: psutil.Process) -> int:
    gc.collect()
    return int(process.num_fds() if hasattr(process, "num_fds") else len(process.net_connections()))


def settle(is_settled: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_settled() and time.monotonic() < end:
        threading.Event().wait(0.02)


def test_timed_out_says_how_long_it_took(comfyui: Simulator, client: Client) -> None:
    comfyui.hold()

    error = fails(client, timeout_s=3)

    assert str(error).startswith("Not finished after 3 s. The job goes on in ComfyUI")
    assert error.zh.startswith("3 秒内未完成")
    assert str(error.prompt_id) in error.zh


def test_slow_file_is_collected_within_what_is_left(
    comfyui: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_FETCH_PAUSE_S", 0.01)
    comfyui.inject(DropConnection(path="/view"), times=2)

    assert len(make(client).files) == 1
