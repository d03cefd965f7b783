"""``generate``, ``submit``, ``run``, ``variations``, ``collect`` and ``cancel``, over real connections."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import comfybridge
from comfybridge.media import image_size
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure

SMALL: Any = {"template": "sd15", "width": 64, "height": 64, "steps": 2}


def sent(comfyui: Simulator) -> dict[str, Any]:
    body = comfyui.received("POST", "/prompt")[-1].body
    found: dict[str, Any] = json.loads(body)["prompt"] if isinstance(body, bytes | str) else body["prompt"]
    return found


class TestGenerate:
    def test_result_tells_what_was_made_and_how(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        result = comfy.generate("上海外滩夜景", width=256, height=192, seed=42, template="z-image-turbo")

        assert image_size(result.images[0].data) == (256, 192) == (result.width, result.height)
        assert (result.seed, result.template, result.server) == (42, "z-image-turbo@1", comfyui.url)
        assert result.model == "z_image_turbo_bf16.safetensors"
        assert list(comfyui.history) == [result.prompt_id]
        assert result.prompts == (sent(comfyui),)
        assert "上海外滩夜景" in json.dumps(result.prompts, ensure_ascii=False)

    def test_size_of_a_platform_is_exact(self, comfy: comfybridge.Comfy) -> None:
        result = comfy.generate("a poster", size="wechat_cover", template="sd15", steps=1)

        assert image_size(result.images[0].data) == (900, 383)

    def test_cells_of_a_table_are_read_as_what_they_say(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        comfy.generate("a fox", template="", width="64", height="64", steps="3", seed="7", count="", cfg=None)

        (sampler,) = (node for node in sent(comfyui).values() if node["class_type"] == "KSampler")
        assert (sampler["inputs"]["steps"], sampler["inputs"]["seed"]) == (3, 7)

    @pytest.mark.parametrize(
        "loras",
        ["ink_sketch:0.5", [("ink_sketch", 0.5)], {"ink_sketch": 0.5}, ["ink_sketch:0.5"]],
        ids=["text", "pairs", "mapping", "list"],
    )
    def test_loras_are_taken_in_any_form(self, comfy: comfybridge.Comfy, comfyui: Simulator, loras: Any) -> None:
        comfy.generate("a fox", **SMALL, loras=loras)

        (lora,) = (node for node in sent(comfyui).values() if node["class_type"] == "LoraLoader")
        assert lora["inputs"]["lora_name"] == "ink_sketch.safetensors"
        assert lora["inputs"]["strength_model"] == 0.5

    def test_several_pictures_of_one_call(self, comfy: comfybridge.Comfy) -> None:
        result = comfy.generate("a fox", **SMALL, count=3)

        assert len({image.data for image in result.images}) == 3

    def test_events_tell_how_it_goes(self, comfy: comfybridge.Comfy) -> None:
        events: list[comfybridge.Event] = []

        result = comfy.generate("a fox", **SMALL, on_event=events.append)

        assert [event.status for event in events][:1] == ["queued"]
        assert {event.prompt_id for event in events} == {result.prompt_id}
        assert [(e.node, e.step, e.steps) for e in events if e.step] == [("KSampler", 1, 2), ("KSampler", 2, 2)]

    @pytest.mark.parametrize(
        ("wishes", "told"),
        [
            ({"stpes": 3}, "Did you mean steps?"),
            ({"colour": "red"}, "Nothing is called 'colour'"),
            ({"steps": 0}, "steps must be a number from 1 to 150"),
            ({"size": "tiny"}, "size must be one of"),
            ({"loras": 7}, "loras is no text, list or mapping"),
            ({"images": "nowhere.png"}, "'nowhere.png' cannot be read"),
            ({"images": [7]}, "int is none of path, bytes"),
            ({"images": b"GIF87b"}, "is no whole picture"),
            ({"template": "sdd15"}, "Did you mean sd15"),
            ({"key": "k" * 201}, "key has 201 characters"),
            ({"timeout": -1}, "timeout must be a number from 0 up"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_what_cannot_be_used_is_refused_and_nothing_sent(
        self, comfy: comfybridge.Comfy, comfyui: Simulator, wishes: Any, told: str
    ) -> None:
        with pytest.raises(comfybridge.InvalidInput, match="(?s)" + told.replace("?", r"\?")):
            comfy.generate("a fox", **wishes)

        assert comfyui.count("POST", "/prompt") == 0

    def test_prompt_is_needed(self, comfy: comfybridge.Comfy) -> None:
        with pytest.raises(comfybridge.InvalidInput, match="prompt is empty"):
            comfy.generate("  ")

    def test_failure_is_an_exception_of_the_tree(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        comfyui.inject(NodeFailure("KSampler"), times=1)

        with pytest.raises(comfybridge.Failed, match="simulated failure") as caught:
            comfy.generate("a fox", **SMALL)

        assert caught.value.prompt_id in comfyui.history

    def test_late_job_goes_on_and_is_collected(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        comfyui.hold()
        with pytest.raises(comfybridge.TimedOut) as caught:
            comfy.generate("a fox", **SMALL, seed=5, timeout=3)
        comfyui.release()

        result = comfy.collect(str(caught.value.prompt_id))

        assert (result.seed, result.template, len(result.images)) == (5, "sd15@1", 1)
        assert result.prompts == (sent(comfyui),)

    def test_same_key_makes_nothing_new(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        first = comfy.generate("a fox", **SMALL, seed=1, key="order 7")
        again = comfy.generate("a fox", **SMALL, seed=1, key="order 7")

        assert (again.prompt_id, comfyui.count("POST", "/prompt")) == (first.prompt_id, 1)

    def test_interrupt_cancels_the_job(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        comfyui.hold()

        def interrupt(event: comfybridge.Event) -> None:
            if event.status == "running":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            comfy.generate("a fox", **SMALL, on_event=interrupt)

        comfyui.release()
        comfyui.wait_for("idle")
        assert [entry["status"]["status_str"] for entry in comfyui.history.values()] == ["error"]

    def test_mistake_of_the_listener_is_raised_and_cancels_the_job(
        self, comfy: comfybridge.Comfy, comfyui: Simulator
    ) -> None:
        comfyui.hold()

        def fail(event: comfybridge.Event) -> None:
            if event.status == "running":
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            comfy.generate("a fox", **SMALL, on_event=fail)

        comfyui.release()
        comfyui.wait_for("idle")
        assert [entry["status"]["status_str"] for entry in comfyui.history.values()] == ["error"]


class TestFiles:
    @pytest.fixture
    def made(self, comfy: comfybridge.Comfy) -> comfybridge.Result:
        return comfy.generate("a fox", **SMALL)

    @pytest.mark.parametrize("form", ["bytes", "path", "text", "file", "result", "prompt_id"])
    def test_picture_to_begin_with(
        self, comfy: comfybridge.Comfy, comfyui: Simulator, made: comfybridge.Result, tmp_path: Path, form: str
    ) -> None:
        path = made.images[0].save(tmp_path / "fox.png")
        given: Any = {
            "bytes": made.images[0].data,
            "path": path,
            "text": str(path),
            "file": made.images[0],
            "result": [made],
            "prompt_id": made.prompt_id,
        }[form]

        redrawn = comfy.generate("a red fox", images=given, steps=1)

        assert redrawn.template == "sdxl-image2image@1"
        (loaded,) = (node["inputs"]["image"] for node in sent(comfyui).values() if node["class_type"] == "LoadImage")
        assert (comfyui.folder / "input" / loaded).read_bytes() == path.read_bytes()

    def test_mask_says_what_to_paint_anew(self, comfy: comfybridge.Comfy, made: comfybridge.Result) -> None:
        assert comfy.generate("a hat", images=made, masks=made, steps=1).template == "sdxl-inpaint@1"

    def test_address_in_our_own_network_is_not_fetched(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        with pytest.raises(comfybridge.InvalidInput, match="no public address"):
            comfy.generate("a fox", images=f"{comfyui.url}/view?filename=x.png")


class TestSubmit:
    def test_job_is_followed_to_its_result(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        comfyui.hold(queued=True)
        job = comfy.submit("a fox", **SMALL, seed=3)
        waiting = job.status
        comfyui.release()

        statuses = [event.status for event in job.events()]

        assert (waiting, job.seed, job.status) == ("queued", 3, "succeeded")
        assert (statuses[0], statuses[-1]) == ("queued", "running")
        assert job.wait().prompt_ids == job.prompt_ids == job.wait().prompt_ids
        assert [event.status for event in job.events()] == statuses

    def test_wait_may_be_given_up_and_taken_up_again(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        comfyui.hold()
        job = comfy.submit("a fox", **SMALL)
        with pytest.raises(comfybridge.TimedOut) as caught:
            job.wait(timeout=2)
        comfyui.release()

        assert caught.value.prompt_id == job.prompt_id
        assert len(job.wait(timeout=20).images) == 1

    def test_cancelled_job_ends_so(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        comfyui.hold()
        job = comfy.submit("a fox", **SMALL)
        comfyui.wait_for("running")
        job.cancel()
        comfyui.release()

        with pytest.raises(comfybridge.Cancelled):
            job.wait()
        assert job.status == "cancelled"
        assert [event.status for event in job.events()][-1] == "running"

    def test_refusal_is_raised_at_once(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        with pytest.raises(comfybridge.Rejected, match=r"flux1-dev-fp8\.safetensors"):
            comfy.submit("a fox", template="flux-dev")

        assert comfyui.count("POST", "/prompt") == 0


class TestRun:
    @pytest.mark.parametrize("form", ["mapping", "json", "picture", "path", "file", "template"])
    def test_any_form_of_workflow(
        self, comfy: comfybridge.Comfy, comfyui: Simulator, tmp_path: Path, form: str
    ) -> None:
        made = comfy.generate("a fox", **SMALL, seed=1)
        workflow: Any = {
            "mapping": made.prompts[0],
            "json": json.dumps(made.prompts[0]),
            "picture": made.images[0].data,
            "path": made.images[0].save(tmp_path / "fox.png"),
            "file": made.images[0],
            "template": "sd15",
        }[form]

        result = comfy.run(workflow, prompt="a wolf", seed=9, steps=1)

        (sampler,) = (node["inputs"] for node in sent(comfyui).values() if node["class_type"] == "KSampler")
        assert (sampler["seed"], sampler["steps"], result.seed) == (9, 1, 9)
        assert "a wolf" in json.dumps(result.prompts)

    def test_workflow_saved_on_the_server(self, comfy: comfybridge.Comfy) -> None:
        graph = comfy.convert("sd15")
        with Simulator(workflows={"mine": graph}) as comfyui, comfybridge.connect(comfyui.url) as other:
            result = other.run("mine", steps=1, width=64, height=64)

        assert (result.template, result.width) == ("mine", 64)

    def test_value_without_a_place_is_refused(self, comfy: comfybridge.Comfy) -> None:
        with pytest.raises(comfybridge.InvalidInput, match="sharpness"):
            comfy.run("sd15", prompt="a fox", sharpness=3)

    def test_file_without_a_workflow_is_refused(self, comfy: comfybridge.Comfy, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("no workflow")

        with pytest.raises(comfybridge.InvalidInput, match="not JSON"):
            comfy.run(tmp_path / "notes.txt")


class TestVariations:
    def test_number_gives_so_many_seeds(self, comfy: comfybridge.Comfy) -> None:
        results = comfy.variations("a fox", 3, **SMALL, seed=7)

        assert [result.seed for result in results] == [7, 8, 9]

    def test_phrases_share_a_seed(self, comfy: comfybridge.Comfy) -> None:
        results = comfy.variations("a fox", ["in snow", {"steps": 1}, "at night"], **SMALL)

        assert len({result.seed for result in results}) == 1
        assert ["a fox, in snow" in json.dumps(r.prompts) for r in results] == [True, False, False]
        assert ["a fox, at night" in json.dumps(r.prompts) for r in results] == [False, False, True]

    @pytest.mark.parametrize("of", [0, -1, [], "in snow"])
    def test_nothing_to_vary_is_refused(self, comfy: comfybridge.Comfy, of: Any) -> None:
        with pytest.raises(comfybridge.InvalidInput, match="a number from 1 up"):
            comfy.variations("a fox", of)

    def test_first_failure_is_raised(self, comfy: comfybridge.Comfy) -> None:
        with pytest.raises(comfybridge.InvalidInput, match="steps"):
            comfy.variations("a fox", [{"steps": 1}, {"steps": 0}, {"cfg": -1}], **SMALL)


class TestEarlierJobs:
    def test_cancel_tells_how_it_ended(self, comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
        done = comfy.generate("a fox", **SMALL)
        comfyui.hold()
        job = comfy.submit("a wolf", **SMALL)
        comfyui.wait_for("running")

        assert (comfy.cancel(job.prompt_id), comfy.cancel(done.prompt_id)) == ("cancelled", "succeeded")
        comfyui.release()

    def test_unknown_job_is_lost(self, comfy: comfybridge.Comfy) -> None:
        with pytest.raises(comfybridge.Lost):
            comfy.collect("00000000-0000-0000-0000-000000000000")


def test_sixteen_threads_share_one_connection(comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
    seeds: dict[int, int | None] = {}
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(3):
                seeds[number * 10 + turn] = comfy.generate("a fox", **SMALL, seed=number * 10 + turn).seed
        except comfybridge.ComfyError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert len(seeds) == 48
    assert all(seed == number for number, seed in seeds.items())
    assert comfyui.count("GET", "/ws") == 1
