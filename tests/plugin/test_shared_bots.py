"""What an operator sets for a bot that many people share, in the plugin's real process."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError, ReverseCallRefusedError
from comfybridge.simulator.faults import Respond
from tests.core.images_service import KEY, ImagesService, images_service, png
from tests.plugin.calls import Call, Fails, Failure, get, read_failure

MODEL = {"provider": "langgenius/openai/openai", "model": "omni-moderation-latest", "model_type": "moderation"}


class Moderates:
    """Dify's side of the reverse call: flags texts with a word in them."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.refusal = ""

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(request)
        if self.refusal:
            raise ReverseCallRefusedError(self.refusal)
        return {"result": "gore" in request["text"]}


@pytest.fixture
def moderates(daemon: PluginDaemon) -> Iterator[Moderates]:
    handler = Moderates()
    daemon.reverse["moderation"] = handler
    yield handler
    daemon.reverse.pop("moderation", None)


class TestBlockedWords:
    @pytest.mark.usefixtures("untouched")
    @pytest.mark.parametrize(("prompt", "written"), [("a g.o.r.e film", "g.o.r.e"), ("一张血 腥图片", "血 腥")])
    def test_prompt_is_refused_before_anything_is_sent(self, fails: Fails, prompt: str, written: str) -> None:
        failure = fails(prompt=prompt, credentials={"blocked_words": "gore，血腥"})

        assert (failure.outcome, failure.prompt_id) == ("rejected", None)
        assert f"'{written}'" in failure.english
        assert f"'{written}'" in failure.chinese

    def test_other_prompts_pass(self, text2image: Call) -> None:
        answer = text2image(prompt="a category of foxes", credentials={"blocked_words": "gore, 血腥"})

        assert len(answer.files) == 1

    def test_list_is_checked_when_it_is_saved(self, daemon: PluginDaemon, comfyui: Simulator) -> None:
        with pytest.raises(PluginError, match="entry 2 has no letter"):
            daemon.validate_credentials("comfyui", {"base_url": comfyui.url, "blocked_words": "gore, ***"})


class TestModerationModel:
    @pytest.mark.usefixtures("untouched")
    def test_flagged_prompt_is_refused(self, fails: Fails, moderates: Moderates) -> None:
        failure = fails(prompt="so much gore", negative_prompt="blur", moderation_model=MODEL)

        assert (failure.outcome, failure.prompt_id) == ("rejected", None)
        assert "objects to the prompt" in failure.english
        assert moderates.asked == [
            {
                "provider": MODEL["provider"],
                "model": MODEL["model"],
                "model_type": "moderation",
                "text": "so much gore\nblur",
            }
        ]

    @pytest.mark.usefixtures("untouched")
    def test_model_is_typed(self, fails: Fails, moderates: Moderates) -> None:
        fails(prompt="so much gore", moderation_model="openai/omni-moderation-latest")

        (asked,) = moderates.asked
        assert (asked["provider"], asked["model"]) == ("openai", "omni-moderation-latest")

    @pytest.mark.usefixtures("untouched")
    def test_text_that_names_no_model_lets_nothing_pass(self, fails: Fails, moderates: Moderates) -> None:
        failure = fails(prompt="a fox", moderation_model="omni-moderation-latest")

        assert (failure.outcome, failure.prompt_id, moderates.asked) == ("rejected", None, [])
        assert "write provider/model as Dify names them, such as openai/gpt-4o-mini" in failure.english

    def test_other_prompts_pass(self, text2image: Call, moderates: Moderates) -> None:
        assert len(text2image(prompt="a fox", moderation_model=MODEL).files) == 1
        assert len(moderates.asked) == 1

    def test_no_model_is_asked_where_none_is_chosen(self, text2image: Call, moderates: Moderates) -> None:
        text2image(prompt="so much gore")

        assert moderates.asked == []

    @pytest.mark.usefixtures("untouched")
    @pytest.mark.parametrize("refusal", ["", "the provider's quota is used up"], ids=["no permission", "broken"])
    def test_model_that_cannot_be_asked_lets_nothing_pass(
        self, fails: Fails, daemon: PluginDaemon, moderates: Moderates, refusal: str
    ) -> None:
        moderates.refusal = refusal
        if not refusal:
            del daemon.reverse["moderation"]

        failure = fails(prompt="a fox", moderation_model=MODEL)

        assert (failure.outcome, failure.prompt_id) == ("failed", None)
        assert "omni-moderation-latest could not check the prompt, so nothing was drawn" in failure.english
        assert "names it as provider/model, such as openai/omni-moderation-latest" in failure.english

    @pytest.mark.usefixtures("untouched")
    def test_model_that_does_not_answer_in_time_lets_nothing_pass(self, fails: Fails, daemon: PluginDaemon) -> None:
        def silent(_request: Mapping[str, Any]) -> Mapping[str, Any]:
            for _ in range(100):
                if "could not be asked" in daemon.transcript.rpartition(marker)[2]:
                    return {"result": False}
                threading.Event().wait(0.1)
            raise AssertionError("it still waits")

        marker = daemon.transcript[-200:]
        daemon.reverse["moderation"] = silent
        try:
            failure = fails(prompt="a fox", timeout=1, moderation_model=MODEL)
        finally:
            del daemon.reverse["moderation"]

        assert "could not check the prompt" in failure.english

    def test_values_of_a_workflow_are_checked_too(
        self, daemon: PluginDaemon, comfyui: Simulator, moderates: Moderates
    ) -> None:
        values = {"workflow": "sd15", "prompt": "a fox", "values": "negative=gore", "moderation_model": MODEL}

        with pytest.raises(PluginError, match="objects to the prompt"):
            daemon.call_tool("comfyui", "run_workflow", values, credentials={"base_url": comfyui.url})
        assert [asked["text"] for asked in moderates.asked] == ["a fox\ngore"]

    @pytest.mark.parametrize("tool", ["image2image", "inpaint", "text2video", "image2video", "text2audio"])
    @pytest.mark.usefixtures("untouched")
    def test_prompts_of_the_other_tools_are_checked_too(
        self, daemon: PluginDaemon, comfyui: Simulator, moderates: Moderates, tool: str
    ) -> None:
        values = {"prompt": "so much gore", "moderation_model": MODEL}

        with pytest.raises(PluginError, match="objects to the prompt"):
            daemon.call_tool("comfyui", tool, values, credentials={"base_url": comfyui.url})
        assert [asked["text"] for asked in moderates.asked] == ["so much gore"]


class TestMaxPixels:
    SMALL: Mapping[str, Any] = {"template": "sd15", "size": "custom", "width": 512, "height": 512}

    @pytest.mark.usefixtures("untouched")
    def test_call_that_is_too_large_is_refused_with_what_fits(self, fails: Fails) -> None:
        failure = fails(prompt="a fox", count=4, credentials={"max_pixels": "0.6"}, **self.SMALL)

        assert (failure.outcome, failure.prompt_id) == ("rejected", None)
        assert "4 × 512×512 = 1.05 megapixels" in failure.english
        assert "or 2 of this size" in failure.english

    @pytest.mark.usefixtures("untouched")
    def test_call_that_does_not_wait_is_no_way_around(self, fails: Fails) -> None:
        assert fails(prompt="a fox", count=4, wait=False, credentials={"max_pixels": "0.6"}, **self.SMALL)

    def test_call_within_it_passes(self, text2image: Call) -> None:
        answer = text2image(prompt="a fox", count=2, credentials={"max_pixels": "0.6"}, **self.SMALL)

        assert len(answer.files) == 2

    def test_workflow_with_large_values_is_refused(self, run_workflow: Call) -> None:
        with pytest.raises(PluginError, match="megapixels are more than"):
            run_workflow(
                workflow="sd15", prompt="a fox", values="width=2048\nheight=2048", credentials={"max_pixels": "1"}
            )


class TestMaxJobsPerUser:
    @pytest.fixture
    def calls(self, daemon: PluginDaemon, comfyui: Simulator) -> Callable[..., Any]:
        def call(user: str, **parameters: Any) -> Any:
            values = {"prompt": "a fox", "template": "sd15", **parameters}
            credentials = {"base_url": comfyui.url, "max_jobs_per_user": "1"}
            return daemon.call_tool("comfyui", "text2image", values, credentials=credentials, user_id=user)

        return call

    def refused(self, calls: Callable[..., Any], user: str) -> Failure:
        with pytest.raises(PluginError) as raised:
            calls(user)
        return read_failure(raised.value.message)

    def test_second_call_of_a_user_is_refused_at_once_and_others_are_not(
        self, calls: Callable[..., Any], comfyui: Simulator
    ) -> None:
        comfyui.hold()
        with ThreadPoolExecutor(2) as callers:
            first = callers.submit(calls, "ann")
            comfyui.wait_for("running")

            failure = self.refused(calls, "ann")
            other = callers.submit(calls, "bob")
            comfyui.wait_for(lambda simulator: simulator.pending)
            comfyui.release()
            first.result()
            other.result()

        assert (failure.outcome, failure.prompt_id) == ("rejected", None)
        assert "You already have 1 job in the making" in failure.english
        assert len(calls("ann").files) == 1

    def test_job_that_nobody_waits_for_counts_while_it_is_queued(
        self, calls: Callable[..., Any], comfyui: Simulator
    ) -> None:
        comfyui.hold()
        calls("ann-2", wait=False)

        self.refused(calls, "ann-2")
        comfyui.release()
        comfyui.wait_for("idle")

        assert len(calls("ann-2").files) == 1

    def test_late_job_counts_while_it_goes_on(self, calls: Callable[..., Any], comfyui: Simulator) -> None:
        comfyui.hold()
        with pytest.raises(PluginError, match="outcome=timed_out"):
            calls("ann-3", timeout=4)

        self.refused(calls, "ann-3")
        comfyui.release()
        comfyui.wait_for("idle")
        assert len(calls("ann-3").files) == 1

    def test_call_that_failed_leaves_its_place(self, calls: Callable[..., Any]) -> None:
        for _ in range(2):
            with pytest.raises(PluginError, match="no-such-model"):
                calls("ann-4", model="no-such-model")

        assert len(calls("ann-4").files) == 1


class TestFallback:
    @pytest.fixture
    def service(self) -> Iterator[ImagesService]:
        with images_service() as service:
            yield service

    @pytest.fixture
    def down(self) -> str:
        with images_service() as gone:
            return gone.url.removesuffix("/v1")

    def credentials(self, service: ImagesService, base_url: str) -> dict[str, Any]:
        return {
            "base_url": base_url,
            "fallback_url": service.url,
            "fallback_api_key": KEY,
            "fallback_model": "gpt-image-1",
        }

    @pytest.mark.parametrize("gives_urls", [False, True], ids=["b64_json", "url"])
    def test_pictures_come_from_the_fallback_when_comfyui_is_down(
        self, text2image: Call, service: ImagesService, down: str, *, gives_urls: bool
    ) -> None:
        service.gives_urls = gives_urls

        answer = text2image(prompt="a fox", count=2, size="16:9", credentials=self.credentials(service, down))

        assert [(file.data, file.mime_type) for file in answer.files] == [(png(), "image/png")] * 2
        assert "prompt_id" not in answer.variables
        assert answer.variables["prompt"] == "a fox"
        assert {name: answer.variables[name] for name in ("status", "made_by", "width", "height")} == {
            "status": "succeeded",
            "made_by": "gpt-image-1",
            "width": 64,
            "height": 48,
        }
        assert answer.text.startswith("2 pictures, 64×48, gpt-image-1, ")
        assert "ComfyUI could not be reached: gpt-image-1 drew this instead / 无法连接 ComfyUI" in answer.text
        assert [(asked["prompt"], asked["n"], asked["size"]) for asked in service.asked] == [("a fox", 2, "1536x1024")]

    def test_links_lead_to_dify_even_where_comfyui_has_a_public_address(
        self, text2image: Call, service: ImagesService, down: str
    ) -> None:
        credentials = {**self.credentials(service, down), "image_base_url": "https://comfy.example"}

        answer = text2image(prompt="a fox", output="markdown", credentials=credentials)

        (link,) = answer.variables["image_urls"]
        assert link.startswith("https://dify.example/files/")

    def test_comfyui_says_that_it_made_the_others(
        self, text2image: Call, service: ImagesService, comfyui: Simulator
    ) -> None:
        answer = text2image(prompt="a fox", credentials=self.credentials(service, comfyui.url))

        assert answer.variables["made_by"] == "comfyui"
        assert service.asked == []

    def test_fallback_that_fails_is_told_after_comfyui(self, fails: Fails, service: ImagesService, down: str) -> None:
        service.says(429, b"")

        failure = fails(prompt="a fox", credentials=self.credentials(service, down))

        assert (failure.outcome, failure.prompt_id) == ("failed", None)
        assert failure.english.index("The image service is busy") < failure.english.index("ComfyUI at base_url")
        assert failure.english.index("ComfyUI at base_url") < failure.english.index("The fallback gpt-image-1 at")
        assert failure.chinese.startswith("图片服务繁忙或暂时无法访问，请几分钟后再试。")

    def test_slow_fallback_ends_with_the_call(self, fails: Fails, service: ImagesService, down: str) -> None:
        service.is_silent()

        assert "in time" in fails(prompt="a fox", timeout=2, credentials=self.credentials(service, down)).english

    @pytest.mark.parametrize(
        ("tool", "parameters"),
        [
            ("text2image", {"wait": False}),
            ("text2image", {"idempotency_key": "k"}),
            ("run_workflow", {"workflow": "sd15"}),
        ],
        ids=["nobody waits", "may be there already", "run_workflow"],
    )
    def test_other_calls_have_no_fallback(
        self, daemon: PluginDaemon, service: ImagesService, down: str, tool: str, parameters: dict[str, Any]
    ) -> None:
        with pytest.raises(PluginError) as raised:
            daemon.call_tool(
                "comfyui", tool, {"prompt": "a fox", **parameters}, credentials=self.credentials(service, down)
            )

        assert "ComfyUI at base_url refuses" in read_failure(raised.value.message).english
        assert service.asked == []

    @pytest.mark.usefixtures("untouched")
    def test_refused_call_is_not_drawn_elsewhere(
        self, fails: Fails, service: ImagesService, comfyui: Simulator
    ) -> None:
        failure = fails(prompt="a fox", model="no-such-model", credentials=self.credentials(service, comfyui.url))

        assert failure.outcome == "rejected"
        assert service.asked == []

    def test_blocked_prompt_is_not_sent_there(self, fails: Fails, service: ImagesService, down: str) -> None:
        failure = fails(prompt="gore", credentials={**self.credentials(service, down), "blocked_words": "gore"})

        assert failure.outcome == "rejected"
        assert service.asked == []


def test_chat_user_reads_a_sentence_of_use_first(fails: Fails) -> None:
    failure = fails(prompt="a fox", credentials={"base_url": "http://comfyui.invalid:8188"})

    assert failure.english.startswith(
        "The image service is busy or cannot be reached right now. Please try again in a few minutes. (ComfyUI at"
        " base_url cannot be found"
    )
    assert failure.chinese.startswith("图片服务繁忙或暂时无法访问，请几分钟后再试。（ComfyUI（base_url）")


@pytest.mark.parametrize("status", [401, 403])
def test_chat_user_is_not_told_to_try_again_where_that_cannot_help(
    fails: Fails, comfyui: Simulator, status: int
) -> None:
    comfyui.inject(Respond(status=status))

    for servers in (comfyui.url, f"{comfyui.url},{comfyui.url.replace('127.0.0.1', 'localhost')}"):
        failure = fails(prompt="a fox", credentials={"base_url": servers})

        assert failure.english.startswith(
            "The image service does not let this app in. Whoever set up the app has to check its key or login."
            " (ComfyUI at"
        )
        assert f"HTTP {status}" in failure.english
        assert failure.chinese.startswith("图片服务拒绝此应用访问，请联系应用的搭建者检查密钥或登录信息。（ComfyUI（")


def test_places_are_counted_over_calls_at_once(daemon: PluginDaemon, comfyui: Simulator) -> None:
    comfyui.hold()
    credentials = {"base_url": comfyui.url, "max_jobs_per_user": "2"}
    refused = threading.Semaphore(0)

    def call() -> bool:
        try:
            daemon.call_tool("comfyui", "text2image", {"prompt": "a fox"}, credentials=credentials, user_id="crowd")
        except PluginError as error:
            refused.release()
            return "already have 2 jobs" not in error.message
        return True

    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(call) for _ in range(8)]
        for _ in range(6):
            assert refused.acquire(timeout=30)
        comfyui.release()

    assert sum(each.result() for each in calls) == 2
    assert len(get(f"{comfyui.url}/history")) == 2
