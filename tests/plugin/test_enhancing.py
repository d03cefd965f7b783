"""Prompts that a language model of Dify's writes, in the plugin's real process."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon, PluginError, ReverseCallRefusedError
from comfybridge.simulator.faults import Respond
from tests.core.making import catalogue
from tests.plugin.calls import get, has_chinese, read_failure

MODEL = {
    "provider": "langgenius/openai/openai",
    "model": "gpt-4o-mini",
    "model_type": "llm",
    "mode": "chat",
    "completion_params": {"temperature": 0.2},
}
MODERATION = {"provider": "langgenius/openai/openai", "model": "omni-moderation-latest", "model_type": "moderation"}
WRITTEN = {"prompt": "a red fox, deep snow, photograph", "negative_prompt": "blur", "size": "16:9"}


class Writes:
    """Dify's side of the reverse call: one chunk, as for models that do not stream, or many."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.answer: str = json.dumps(WRITTEN)
        self.refusal = ""

    def __call__(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        self.asked.append(request)
        if self.refusal:
            raise ReverseCallRefusedError(self.refusal)
        yield from map(chunk, self.pieces())

    def pieces(self) -> Sequence[str]:
        return [self.answer]

    @property
    def told(self) -> tuple[str, dict[str, Any]]:
        """The system's words and the user's, of the only call."""
        (request,) = self.asked
        system, user = request["prompt_messages"]
        assert (system["role"], user["role"]) == ("system", "user")
        return system["content"], json.loads(user["content"])


class Streams(Writes):
    def pieces(self) -> Sequence[str]:
        return f"<think>hm</think>{self.answer}"


def chunk(text: str) -> Mapping[str, Any]:
    """One ``LLMResultChunk``, as Dify's API sends it."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "name": None, "tool_calls": []}
    delta = {"index": 0, "message": message, "usage": None, "finish_reason": None}
    return {"model": MODEL["model"], "prompt_messages": [], "system_fingerprint": None, "delta": delta}


@pytest.fixture(params=[Writes, Streams], ids=["whole", "streamed"])
def either(request: pytest.FixtureRequest, daemon: PluginDaemon) -> Iterator[Writes]:
    yield from answering(daemon, request.param())


@pytest.fixture
def writes(daemon: PluginDaemon) -> Iterator[Writes]:
    yield from answering(daemon, Writes())


def answering(daemon: PluginDaemon, handler: Writes) -> Iterator[Writes]:
    daemon.reverse["llm"] = handler
    yield handler
    daemon.reverse.pop("llm", None)


@pytest.fixture
def call(daemon: PluginDaemon, comfyui: Simulator) -> Callable[..., Answer]:
    def call(tool: str, *, credentials: Mapping[str, Any] | None = None, **parameters: Any) -> Answer:
        values = {"enhance_with": MODEL, **parameters}
        return daemon.call_tool("comfyui", tool, values, credentials={"base_url": comfyui.url, **(credentials or {})})

    return call


@pytest.fixture
def use(call: Callable[..., Answer]) -> Iterator[Callable[..., Answer]]:
    """Call tools of a server that has every model."""
    with Simulator(models=catalogue()) as server:
        yield lambda tool, **parameters: call(tool, credentials={"base_url": server.url}, **parameters)


@pytest.fixture
def draws(call: Callable[..., Answer]) -> Callable[..., Answer]:
    return lambda **parameters: call("text2image", **{"prompt": "画一只雪中的狐狸", "template": "sd15", **parameters})


def is_plain(answer: Answer, english: str, prompt: str = "画一只雪中的狐狸") -> None:
    """The picture is there, drawn from the caller's own words, and the one line of text says so."""
    assert len(answer.files) == 1
    assert answer.variables["prompt"] == prompt
    assert "negative_prompt" not in answer.variables
    assert f"The prompt was used as written: gpt-4o-mini {english}" in answer.text
    assert "已直接使用原提示词：gpt-4o-mini" in answer.text
    assert "\n" not in answer.text
    assert len(answer.text.encode()) < 600


class TestWhatTheModelWrites:
    def test_is_drawn_and_told(
        self, draws: Callable[..., Answer], either: Writes, graphs: Callable[[], list[dict[str, Any]]]
    ) -> None:
        answer = draws(seed="7")

        texts = [node["inputs"]["text"] for node in graphs()[0].values() if "text" in node["inputs"]]
        assert sorted(texts) == [WRITTEN["prompt"], WRITTEN["negative_prompt"]]
        for told in (answer.variables, answer.json[0]):
            assert (told["prompt"], told["negative_prompt"]) == (WRITTEN["prompt"], WRITTEN["negative_prompt"])
        assert (answer.variables["width"], answer.variables["height"]) == (680, 384)
        assert answer.variables["seed"] == 7
        assert "used as written" not in answer.text
        assert len(either.asked) == 1

    def test_model_is_asked_as_it_was_chosen(self, draws: Callable[..., Answer], writes: Writes) -> None:
        draws(style="flat vector")

        system, user = writes.told
        (request,) = writes.asked
        chosen = {name: request[name] for name in ("provider", "model", "model_type", "mode", "completion_params")}
        assert chosen == MODEL
        assert user == {"request": "画一只雪中的狐狸", "house_style": "flat vector"}
        assert "Write in English" in system
        assert "separated by commas" in system
        assert request["tools"] is None

    @pytest.mark.parametrize(
        ("typed", "provider"),
        [
            ("openai/gpt-4o-mini", "openai"),
            ("langgenius/openai/openai/gpt-4o-mini", MODEL["provider"]),
            (str(MODEL), MODEL["provider"]),
        ],
        ids=["short", "in full", "saved with a selector"],
    )
    def test_model_is_typed(self, draws: Callable[..., Answer], writes: Writes, typed: str, provider: str) -> None:
        draws(enhance_with=typed)

        (request,) = writes.asked
        assert (request["provider"], request["model"]) == (provider, "gpt-4o-mini")
        assert (request["model_type"], request["mode"]) == ("llm", "chat")
        assert request["completion_params"] == (MODEL["completion_params"] if typed[0] == "{" else {})

    def test_template_that_auto_chose_tells_the_language(self, draws: Callable[..., Answer], writes: Writes) -> None:
        answer = draws(template="auto")

        system, _ = writes.told
        assert answer.variables["template"] == "z-image-turbo"
        assert "Write in the language of the request" in system
        assert "negative_prompt" not in system
        assert "negative_prompt" not in answer.variables

    def test_what_the_caller_sets_stays(self, draws: Callable[..., Answer], writes: Writes) -> None:
        answer = draws(negative_prompt="text", size="1:1")

        system, user = writes.told
        assert (answer.variables["prompt"], answer.variables["negative_prompt"]) == (WRITTEN["prompt"], "text")
        assert (answer.variables["width"], answer.variables["height"]) == (512, 512)
        assert '"size"' not in system
        assert user["avoid"] == "text"

    def test_nothing_else_can_be_set(
        self, draws: Callable[..., Answer], writes: Writes, graphs: Callable[[], list[dict[str, Any]]]
    ) -> None:
        writes.answer = json.dumps(
            {**WRITTEN, "size": "99999x99999", "seed": 1, "steps": 150, "count": 8, "template": "sdxl", "model": "x",
             "values": {"steps": 150}, "enhance_with": MODEL}
        )  # fmt: skip

        answer = draws(seed=7, steps=3)

        assert (answer.variables["seed"], answer.variables["template"], len(answer.files)) == (7, "sd15", 1)
        assert (answer.variables["width"], answer.variables["height"]) == (512, 512)
        assert [node["inputs"]["steps"] for node in graphs()[0].values() if "steps" in node["inputs"]] == [3]

    def test_size_beyond_the_limit_of_the_app_is_not_taken(self, call: Callable[..., Answer], writes: Writes) -> None:
        writes.answer = json.dumps({"prompt": "a fox", "size": "21:9"})

        # 784 × 336 pixels are a few more than 512 × 512.
        answer = call("text2image", prompt="fox", template="sd15", credentials={"max_pixels": "0.263"})

        assert (answer.variables["width"], answer.variables["height"]) == (512, 512)
        assert answer.variables["prompt"] == "a fox"

    @pytest.mark.parametrize(
        ("tool", "parameters", "kind"),
        [
            ("text2video", {"prompt": "a fox runs", "seconds": 1}, "makes a short video."),
            ("text2audio", {"prompt": "calm piano", "seconds": 1}, "makes music or a sound."),
            ("run_workflow", {"workflow": "sd15", "prompt": "a fox"}, "makes a picture."),
        ],
    )
    def test_other_tools(
        self, use: Callable[..., Answer], writes: Writes, tool: str, parameters: dict[str, Any], kind: str
    ) -> None:
        answer = use(tool, **parameters)

        system, user = writes.told
        assert answer.variables["prompt"] == WRITTEN["prompt"]
        assert user == {"request": parameters["prompt"]}
        assert kind in system

    def test_picture_is_changed_by_an_instruction(self, use: Callable[..., Answer], writes: Writes) -> None:
        first = use("text2image", prompt="a fox", enhance_with=None).variables["prompt_id"]
        writes.answer = "Make the fox blue and keep everything else as it is."

        answer = use("image2image", prompt="make it blue", from_prompt_id=first)

        system, _ = writes.told
        assert answer.variables["template"] == "qwen-image-edit-lightning"
        assert answer.variables["prompt"] == writes.answer
        assert "Write one instruction" in system
        assert "You cannot see the given picture" in system

    def test_model_is_asked_once_however_many_servers_refuse(
        self, call: Callable[..., Answer], writes: Writes, comfyui: Simulator
    ) -> None:
        with Simulator() as other:
            for server in (comfyui, other):
                server.inject(Respond(path="/prompt", method="POST", status=429))
            credentials = {"base_url": f"{comfyui.url}, {other.url}"}
            with pytest.raises(PluginError):
                call("text2image", prompt="a fox", template="sd15", credentials=credentials)

            offered = [
                request.body["prompt"] for server in (comfyui, other) for request in server.received("POST", "/prompt")
            ]

        assert len(writes.asked) == 1
        assert len(offered) > 1
        assert all(WRITTEN["prompt"] in json.dumps(graph) for graph in offered)

    def test_text_of_a_workflow_stays_where_there_is_no_prompt(
        self, call: Callable[..., Answer], writes: Writes
    ) -> None:
        answer = call("run_workflow", workflow="sd15", style="flat vector")

        assert writes.asked == []
        assert "flat vector" not in answer.variables["prompt"]

    def test_call_that_does_not_wait_tells_it_too(self, draws: Callable[..., Answer], writes: Writes) -> None:
        answer = draws(wait=False)
        writes.answer = ""
        other = draws(wait=False)

        assert answer.variables["prompt"] == WRITTEN["prompt"]
        assert other.variables["prompt"] == "画一只雪中的狐狸"
        assert "The prompt was used as written: gpt-4o-mini gave no prompt that can be used" in other.text


class TestPlainPrompt:
    @pytest.mark.parametrize("chosen", [None, "", {}, {"provider": "", "model": ""}, "{'provider': '', 'model': ''}"])
    def test_no_model_is_asked_where_none_is_chosen(
        self, draws: Callable[..., Answer], writes: Writes, chosen: Any
    ) -> None:
        answer = draws(enhance_with=chosen)

        assert (writes.asked, answer.variables["prompt"]) == ([], "画一只雪中的狐狸")
        assert "used as written" not in answer.text

    def test_style_comes_after_it(self, draws: Callable[..., Answer], writes: Writes) -> None:
        assert draws(enhance_with=None, style="水彩").variables["prompt"] == "画一只雪中的狐狸，水彩"
        assert writes.asked == []

    def test_permission_is_lacking(self, draws: Callable[..., Answer], daemon: PluginDaemon) -> None:
        daemon.reverse.pop("llm", None)

        is_plain(draws(style="水彩"), "may not be asked", "画一只雪中的狐狸，水彩")

    def test_provider_fails(self, draws: Callable[..., Answer], writes: Writes, daemon: PluginDaemon) -> None:
        writes.refusal = "Incorrect API key sk-planted-0815; the request was 画一只雪中的狐狸"
        before = len(daemon.transcript)

        answer = draws()

        is_plain(answer, "could not be asked")
        logged = [line for line in daemon.transcript[before:].splitlines() if '"log"' in line]
        assert any("the language model gpt-4o-mini could not be asked" in line for line in logged)
        assert "sk-planted-0815" not in answer.text + "".join(logged)
        assert not has_chinese("".join(logged))

    def test_model_is_named_as_it_was_typed(self, draws: Callable[..., Answer], writes: Writes) -> None:
        writes.refusal = "Provider langgenius/opnai/opnai does not exist."

        answer = draws(enhance_with="opnai/gpt-4o-mini")

        assert answer.variables["prompt"] == "画一只雪中的狐狸"
        assert "The prompt was used as written: opnai/gpt-4o-mini could not be asked" in answer.text

    @pytest.mark.parametrize("junk", ["", "I'm sorry, I can't help with that.", '{"prompt": "a fo', "x" * 9000])
    def test_answer_is_junk(self, draws: Callable[..., Answer], writes: Writes, junk: str) -> None:
        writes.answer = junk

        is_plain(draws(), "gave no prompt that can be used")

    def test_model_is_slow(self, draws: Callable[..., Answer], daemon: PluginDaemon) -> None:
        before = len(daemon.transcript)

        def slow(_request: Mapping[str, Any]) -> Mapping[str, Any]:
            for _ in range(200):
                if "did not answer within" in daemon.transcript[before:]:
                    return chunk(json.dumps(WRITTEN))
                threading.Event().wait(0.1)
            raise AssertionError("it still waits")

        daemon.reverse["llm"] = slow
        try:
            answer = draws(timeout=9)
        finally:
            del daemon.reverse["llm"]

        is_plain(answer, "did not answer within 2 s")

    def test_no_time_is_left_for_it(self, draws: Callable[..., Answer], writes: Writes) -> None:
        is_plain(draws(timeout=2.9), "was not asked, since too little time is left")
        assert writes.asked == []

    def test_model_drips(self, draws: Callable[..., Answer], daemon: PluginDaemon) -> None:
        before = len(daemon.transcript)

        def drips(_request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
            for _ in range(200):
                yield chunk("drip ")
                if "did not answer within" in daemon.transcript[before:]:
                    return
                threading.Event().wait(0.1)
            raise AssertionError("it still waits")

        daemon.reverse["llm"] = drips
        try:
            answer = draws(timeout=9)
        finally:
            del daemon.reverse["llm"]

        is_plain(answer, "did not answer within 2 s")

    def test_blocked_word_in_what_was_written(self, call: Callable[..., Answer], writes: Writes) -> None:
        writes.answer = json.dumps({"prompt": "a fox with g.o.r.e"})

        answer = call("text2image", prompt="a fox", template="sd15", credentials={"blocked_words": "gore"})

        is_plain(answer, "used a word that this app blocks", "a fox")
        assert "g.o.r.e" not in answer.text

    @pytest.mark.parametrize("fails", [False, True], ids=["flagged", "not checked"])
    def test_moderation_of_what_was_written(
        self, draws: Callable[..., Answer], writes: Writes, daemon: PluginDaemon, *, fails: bool
    ) -> None:
        asked: list[str] = []

        def moderates(request: Mapping[str, Any]) -> Mapping[str, Any]:
            asked.append(request["text"])
            if fails and len(asked) > 1:
                raise ReverseCallRefusedError("quota")
            return {"result": "gore" in request["text"]}

        writes.answer = json.dumps({"prompt": "a fox with gore"})
        daemon.reverse["moderation"] = moderates
        try:
            answer = draws(moderation_model=MODERATION)
        finally:
            del daemon.reverse["moderation"]

        is_plain(answer, "wrote what could not be checked" if fails else "wrote what the moderation model objects to")
        assert asked == ["画一只雪中的狐狸", "a fox with gore"]


class TestBeforeTheModelIsAsked:
    @pytest.mark.usefixtures("untouched")
    @pytest.mark.parametrize(
        "parameters",
        [
            {"prompt": "gore"},
            {"prompt": "a fox", "style": "g o r e"},
            {"prompt": "x" * 8001},
            {"prompt": "a fox", "model": "no-such-model"},
            {"prompt": "a fox", "enhance_with": "gpt"},
            {"prompt": "a fox", "enhance_with": "langgenius/openai/gpt"},
            {"prompt": "a fox", "size": "custom", "width": 4096, "height": 4096},
        ],
        ids=["blocked", "style", "long", "no model file", "no model", "no provider", "large"],
    )
    def test_refused_call_costs_nothing(
        self, call: Callable[..., Answer], writes: Writes, parameters: dict[str, Any]
    ) -> None:
        with pytest.raises(PluginError) as raised:
            call("text2image", credentials={"blocked_words": "gore", "max_pixels": "4"}, **parameters)

        assert read_failure(raised.value.message).outcome == "rejected"
        assert writes.asked == []

    def test_repeated_call_asks_once(self, draws: Callable[..., Answer], writes: Writes, comfyui: Simulator) -> None:
        first = draws(idempotency_key="enhanced once")
        writes.answer = json.dumps({"prompt": "another fox"})

        second = draws(idempotency_key="enhanced once")

        assert len(writes.asked) == 1
        assert len(get(f"{comfyui.url}/history")) == 1
        for name in ("prompt_id", "prompt", "negative_prompt", "seed"):
            assert second.variables[name] == first.variables[name]
