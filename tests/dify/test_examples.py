"""Every example app in Dify's engine, as its file is: the plugin's real process draws on a simulated ComfyUI."""

import copy
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from PIL import Image

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.simulator.dify_files import DifyFiles
from comfybridge.simulator.faults import NodeFailure
from tests.core.making import catalogue

if TYPE_CHECKING:
    from tests.dify.engine import Run
    from tests.dify.stand_ins import Reply

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass
class App:
    """An imported app, its memory between the turns of a conversation included."""

    document: dict[str, Any]
    daemon: PluginDaemon
    comfyui: Simulator
    knowledge: dict[str, Sequence[str]] = field(default_factory=dict)
    history: list[tuple[str, str]] = field(default_factory=list)
    prompts: dict[str, list[str]] = field(default_factory=dict)
    """What the model was told in the last turn, by node."""

    def __post_init__(self) -> None:
        declared = self.document["workflow"]["conversation_variables"]
        self.conversation = {variable["name"]: variable["value"] for variable in declared}

    def node(self, name: str) -> dict[str, Any]:
        nodes = self.document["workflow"]["graph"]["nodes"]
        data: dict[str, Any] = next(node["data"] for node in nodes if node["id"] == name)
        return data

    def configure(self, name: str, **settings: Any) -> None:
        """What the app's maker sets in a Tool node."""
        for setting, value in settings.items():
            self.node(name)["tool_configurations"][setting] = {"type": "constant", "value": value}

    def choose_knowledge(self, node: str, passages: Sequence[str]) -> None:
        """What the app's maker does after the import."""
        self.node(node)["dataset_ids"] = ["mine"]
        self.knowledge["mine"] = passages

    def run(self, inputs: Mapping[str, Any] | None = None, **model: "Reply") -> "Run":
        """A workflow's run; the keywords are what the model answers, by node."""
        defaults = {each["variable"]: each.get("default") for each in self.node("start")["variables"]}
        return self._run(model, inputs={**defaults, **(inputs or {})})

    def say(self, query: str, *, attached: Sequence[dict[str, Any]] = (), **model: "Reply") -> "Run":
        """A turn of a chat."""
        run = self._run(model, query=query, attached=attached)
        self.conversation = run.conversation
        self.history.append((query, run.outputs.get("answer", "")))
        return run

    def _run(self, model: "Mapping[str, Reply]", **arguments: Any) -> "Run":
        from tests.dify import engine, stand_ins  # noqa: PLC0415 (only where graphon is installed)

        behind = stand_ins.Behind(model, self.knowledge, self.history)
        graph = copy.deepcopy(self.document["workflow"]["graph"])
        credentials = {"base_url": self.comfyui.url}
        run = engine.run(graph, self.daemon, credentials, conversation=self.conversation, behind=behind, **arguments)
        self.prompts = behind.prompts
        return run


Load = Callable[[str], App]


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    """A server with every model that the library names."""
    with Simulator(models=catalogue()) as simulator:
        yield simulator


@pytest.fixture
def load(daemon: PluginDaemon, comfyui: Simulator) -> Load:
    def load(name: str) -> App:
        return App(yaml.safe_load((EXAMPLES / f"{name}.yml").read_text(encoding="utf-8")), daemon, comfyui)

    return load


@pytest.fixture(scope="module")
def notes() -> list[str]:
    """The style notes in passages, as Dify's knowledge parts them."""
    return (EXAMPLES / "knowledge" / "style-notes.md").read_text(encoding="utf-8").split("\n## ")


def means(category: str) -> str:
    """What a model answers that is asked to classify."""
    return json.dumps({"keywords": [], "category_id": category, "category_name": category})


def pictures(run: "Run", files: Sequence[Any]) -> list[Image.Image]:
    return [Image.open(BytesIO(run.files.stored[file.reference].data)) for file in files]


def sizes(run: "Run", files: Sequence[Any]) -> list[tuple[int, int]]:
    return [picture.size for picture in pictures(run, files)]


def shown(run: "Run") -> list[str]:
    """The files that the answer shows."""
    return [name for name in run.files.stored if f"https://dify.example/files/tools/{name}" in run.outputs["answer"]]


def said(run: "Run", selector: tuple[str, str]) -> list[str]:
    return [text for source, text in run.chunks if source == selector]


def drawn(picture: Image.Image) -> str:
    """The graph that ComfyUI wrote into a picture."""
    return str(picture.info["prompt"])


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yml")))
def test_engine_reads_the_file(name: str) -> None:
    dsl = importlib.import_module("graphon.dsl")

    plan = dsl.inspect((EXAMPLES / f"{name}.yml").read_text(encoding="utf-8"))

    assert plan.document.kind == "app"
    assert (plan.document.graph_config is None) == (name == "seed-story-agent")


class TestSeedStory:
    PROMPT = '灯塔下的老人喂海鸥，墨线水彩，"北光"'

    def test_workflow_follows_the_style_notes(self, load: Load, notes: list[str]) -> None:
        app = load("seed-story-workflow")
        app.choose_knowledge("notes", notes)

        run = app.run({"sentence": "守塔人喂海鸥", "size": "16:9"}, writer=self.PROMPT)

        system, user = app.prompts["writer"]
        assert "ink line with watercolour wash" in system
        assert user == "守塔人喂海鸥"
        (picture,) = pictures(run, run.outputs["pictures"])
        assert picture.size == (1360, 768)
        assert json.dumps(self.PROMPT, ensure_ascii=False) in json.dumps(json.loads(drawn(picture)), ensure_ascii=False)
        assert run.outputs["prompt"] == self.PROMPT
        assert run.outputs["seed"] == run.tool["seed"]

    def test_it_works_before_knowledge_is_chosen(self, load: Load) -> None:
        app = load("seed-story-workflow")

        run = app.run({"sentence": "a lighthouse"}, writer="a lighthouse in a storm")

        assert "<notes>\n\n</notes>" in app.prompts["writer"][0]
        assert sizes(run, run.outputs["pictures"]) == [(1024, 1024)]

    def test_chatflow_streams_progress_before_the_picture(self, load: Load, notes: list[str]) -> None:
        app = load("seed-story-chatflow")
        app.choose_knowledge("notes", notes)

        run = app.say("守塔人喂海鸥", writer=self.PROMPT)

        progress = "".join(said(run, ("draw", "progress")))
        assert len(said(run, ("draw", "progress"))) >= 2
        answer = run.outputs["answer"]
        assert 0 <= answer.index(progress) < answer.index("![") < answer.index(self.PROMPT)
        assert len(shown(run)) == 1

    def test_chatflow_remembers_what_was_said(self, load: Load) -> None:
        app = load("seed-story-chatflow")
        app.say("a lighthouse", writer="a lighthouse, watercolour")

        app.say("now at night", writer="a lighthouse at night, watercolour")

        assert app.prompts["writer"][1] == "a lighthouse"
        assert "a lighthouse, watercolour" in app.prompts["writer"][2]
        assert app.prompts["writer"][3] == "now at night"


class TestDraftThenFine:
    def test_yes_turns_the_draft_into_the_fine_picture(self, load: Load) -> None:
        app = load("draft-then-fine")

        draft = app.say("eine Füchsin im Café", meant=means("draft"), writer="a fox in a café")
        fine = app.say("好，就这张", meant=means("fine"))

        assert draft.nodes["draft"]["template"] == "sdxl-turbo"
        assert sizes(draft, draft.nodes["draft"]["files"].value) == [(512, 512)]
        assert "Say *yes* for the fine picture" in draft.outputs["answer"]
        assert fine.nodes["fine"]["template"] == "z-image-turbo"
        (picture,) = pictures(fine, fine.nodes["fine"]["files"].value)
        assert picture.size == (1024, 1024)
        assert "a fox in a caf" in drawn(picture)
        assert len(shown(draft)) == len(shown(fine)) == 1

    def test_change_is_told_the_last_prompt(self, load: Load) -> None:
        app = load("draft-then-fine")
        app.say("a fox in a café", meant=means("draft"), writer="a fox in a café")

        app.say("yes, but at night", meant=means("draft"), writer="a fox in a café at night")

        assert "<last>\na fox in a café\n</last>" in app.prompts["writer"][0]
        assert app.conversation == {"prompt": "a fox in a café at night"}

    def test_yes_without_a_draft_asks_what_to_draw(self, load: Load, comfyui: Simulator) -> None:
        run = load("draft-then-fine").say("yes", meant=means("fine"))

        assert run.outputs["answer"].startswith("Tell me first what to draw.")
        assert comfyui.count("POST", "/prompt") == 0


class TestChangeItsColour:
    def test_second_turn_edits_the_picture_of_the_first(self, load: Load, comfyui: Simulator) -> None:
        app = load("change-its-colour")

        first = app.say("a red bicycle")
        second = app.say("change its colour to blue", meant=means("change"))
        third = app.say("改成夜晚", meant=means("change"))

        assert app.conversation["picture"] == third.nodes["change"]["prompt_id"] != first.nodes["draw"]["prompt_id"]
        graphs = [request.body["prompt"] for request in comfyui.received("POST", "/prompt")]
        loaded = [[node for node in graph.values() if node["class_type"] == "LoadImage"] for graph in graphs]
        assert [len(nodes) for nodes in loaded] == [0, 1, 1]
        assert "change its colour to blue" in json.dumps(graphs[1])
        assert second.nodes["change"]["template"] == "qwen-image-edit-lightning"
        assert [len(shown(run)) for run in (first, second, third)] == [1, 1, 1]

    def test_something_else_is_drawn_anew(self, load: Load) -> None:
        app = load("change-its-colour")
        app.say("a red bicycle")

        run = app.say("a cat", meant=means("new"))

        assert "change" not in run.nodes
        assert app.conversation["picture"] == run.nodes["draw"]["prompt_id"]

    def test_attached_photo_is_changed_without_asking_a_model(self, load: Load, dify_files: DifyFiles) -> None:
        data = BytesIO()
        Image.new("RGB", (96, 64), (200, 30, 60)).save(data, "PNG")
        photo = dify_files.offer(data.getvalue(), "照片.png", "image/png")
        app = load("change-its-colour")

        run = app.say("make it blue", attached=[photo])

        assert app.prompts == {}
        assert app.conversation["picture"] == run.nodes["photo"]["prompt_id"]
        assert len(shown(run)) == 1


def test_product_set_has_the_exact_pixels(load: Load) -> None:
    run = load("product-set").run({"product": "哑光黑保温杯"})

    found = {name: sizes(run, files) for name, files in run.outputs.items()}
    assert found == {"main": [(800, 800)], "detail": [(1200, 800)], "lifestyle": [(1024, 768)]}
    (main,) = pictures(run, run.outputs["main"])
    graph = json.dumps(json.loads(drawn(main)), ensure_ascii=False)
    assert "哑光黑保温杯. Product photograph" in graph
    assert "{{" not in graph


class TestSocialPlatforms:
    EXACT = {  # noqa: RUF012 (read only)
        "wechat_cover": (900, 383),
        "wechat_square": (1080, 1080),
        "weibo": (1200, 675),
        "douyin": (1080, 1920),
        "xiaohongshu": (1242, 1660),
        "product_main": (800, 800),
        "product_detail": (1200, 800),
        "instagram_square": (1080, 1080),
        "instagram_portrait": (1080, 1350),
        "instagram_story": (1080, 1920),
        "x_post": (1600, 900),
        "youtube_thumbnail": (1280, 720),
    }

    def test_each_platform_gets_its_pixels(self, load: Load) -> None:
        app = load("social-platforms")

        run = app.run({"topic": "中秋月饼"}, writer="a mooncake box, moonlight")

        assert app.prompts["writer"][1] == "中秋月饼"
        assert sizes(run, run.outputs["pictures"]) == list(self.EXACT.values())
        assert all("a mooncake box, moonlight" in drawn(picture) for picture in pictures(run, run.outputs["pictures"]))
        assert run.outputs["report"].startswith(f"12 of 12 pictures: {', '.join(self.EXACT)}.")

    def test_unknown_names_are_told_and_the_others_drawn(self, load: Load) -> None:
        run = load("social-platforms").run({"topic": "tea", "platforms": "Weibo, myspace"}, writer="tea")

        assert sizes(run, run.outputs["pictures"]) == [(1200, 675)]
        assert "Not known: myspace." in run.outputs["report"]

    def test_picture_that_fails_leaves_the_others(self, load: Load, comfyui: Simulator) -> None:
        comfyui.inject(NodeFailure("KSampler"), times=1)

        run = load("social-platforms").run({"topic": "tea", "platforms": "weibo, wechat_square"}, writer="tea")

        assert sizes(run, run.outputs["pictures"]) == [(1080, 1080)]
        assert run.outputs["report"].startswith("1 of 2 pictures")


class TestBatchFromTable:
    def test_rows_become_pictures_and_bad_ones_are_told(self, load: Load) -> None:
        table = (
            "prompt,size,seed\na red fox,640x384,42\n,1:1,\n\n中秋月饼礼盒,wechat_cover,\nowl,huge,\nhare,1:1,soon\n"
        )

        run = load("batch-from-table").run({"table": table})

        assert sizes(run, run.outputs["pictures"]) == [(640, 384), (900, 383)]
        fox, mooncake = pictures(run, run.outputs["pictures"])
        assert '"seed": 42' in drawn(fox)
        assert "中秋月饼礼盒" in json.dumps(json.loads(drawn(mooncake)), ensure_ascii=False)
        assert run.outputs["report"].splitlines() == [
            "2 of 2 pictures. 共 2 行可用，完成 2 张。",
            "Line 3: no prompt 没有提示词. 第 3 行未处理。",
            "Line 6: no such size 'huge' 没有这个尺寸. 第 6 行未处理。",
            "Line 7: no such seed 'soon' 没有这样的种子. 第 7 行未处理。",
        ]

    @pytest.mark.parametrize(
        "table",
        [
            '"a fox, red",640x384',
            "提示词\t尺寸\na fox, red\t640x384",
            "| prompt | size |\n|---|---|\n| a fox, red | 640x384 |",
            "seed;size;prompt\n;640x384;a fox, red",
        ],
        ids=["quoted, no heading", "tabs, Chinese heading", "Markdown", "semicolons, other order"],
    )
    def test_tables_of_many_kinds(self, load: Load, table: str) -> None:
        run = load("batch-from-table").run({"table": table})

        (picture,) = pictures(run, run.outputs["pictures"])
        assert picture.size == (640, 384)
        assert "a fox, red" in drawn(picture)

    def test_nothing_usable_is_no_failure(self, load: Load, comfyui: Simulator) -> None:
        run = load("batch-from-table").run({"table": "prompt,size\n,1:1"})

        assert run.succeeded
        assert run.outputs["pictures"] == []
        assert "Line 2: no prompt" in run.outputs["report"]
        assert comfyui.count("POST", "/prompt") == 0


class TestLongVideo:
    def test_queued_now_and_collected_later(self, load: Load, comfyui: Simulator) -> None:
        app = load("long-video")
        app.configure("collect", timeout=4)
        comfyui.hold()

        queued = app.say("a paper boat", meant=means("new"))
        early = app.say("is it ready?", meant=means("collect"))
        comfyui.release()
        comfyui.wait_for("idle")
        later = app.say("好了吗？", meant=means("collect"))

        assert app.conversation["job"] == queued.nodes["submit"]["prompt_id"]
        assert app.conversation["job"] in queued.outputs["answer"]
        assert early.outputs["answer"].startswith("Not yet (running).")
        (video,) = later.nodes["collect"]["files"].value
        assert (video.type.value, len(shown(later))) == ("video", 1)

    def test_asking_without_a_video(self, load: Load, comfyui: Simulator) -> None:
        run = load("long-video").say("is it ready?", meant=means("collect"))

        assert run.outputs["answer"].startswith("No video is in the making.")
        assert comfyui.requests == []

    def test_lost_video_is_told_and_forgotten(self, load: Load, comfyui: Simulator) -> None:
        app = load("long-video")
        comfyui.hold()
        app.say("a paper boat", meant=means("new"))
        comfyui.forget()

        run = app.say("is it ready?", meant=means("collect"))

        assert "outcome=lost" in run.outputs["answer"]
        assert app.conversation == {"job": ""}

    def test_cancelled_video_leaves_the_queue(self, load: Load, comfyui: Simulator) -> None:
        app = load("long-video")
        comfyui.hold()
        app.say("a paper boat", meant=means("new"))

        run = app.say("算了", meant=means("cancel"))

        comfyui.release()
        comfyui.wait_for("idle")
        assert run.outputs["answer"] == run.nodes["cancel"]["text"]
        assert run.nodes["cancel"]["status"] == "cancelled"
        assert app.conversation == {"job": ""}

    def test_refused_video_says_why(self, load: Load) -> None:
        app = load("long-video")
        app.configure("submit", model="no-such.safetensors")

        run = app.say("a paper boat", meant=means("new"))

        assert "no-such.safetensors" in run.outputs["answer"]
        assert app.conversation == {"job": ""}


class TestFriendlyFailure:
    @pytest.fixture
    def app(self, load: Load) -> App:
        app = load("friendly-failure")
        app.configure("draw", template="sd15")
        return app

    def test_success_is_a_picture(self, app: App) -> None:
        run = app.say("a red fox")

        assert len(shown(run)) == 1

    def test_rejected(self, app: App) -> None:
        app.configure("draw", model="no-such.safetensors")

        run = app.say("a red fox")

        assert run.succeeded
        assert run.outputs["answer"].startswith("I cannot draw it like this: 这样画不了：")
        assert "no-such.safetensors" in run.outputs["answer"]
        assert "outcome=" not in run.outputs["answer"]

    def test_timed_out_tells_the_number_for_later(self, app: App, comfyui: Simulator) -> None:
        app.configure("draw", timeout=4)
        comfyui.hold()

        run = app.say("a red fox")

        (prompt_id,) = comfyui.running
        assert f"`{prompt_id}`" in run.outputs["answer"]
        assert "Get result" in run.outputs["answer"]

    def test_failed(self, app: App, comfyui: Simulator) -> None:
        comfyui.inject(NodeFailure("KSampler", message="the sampler fell over"))

        run = app.say("a red fox")

        assert run.outputs["answer"].startswith("The picture could not be made.")
        assert "the sampler fell over" in run.outputs["answer"]

    @pytest.mark.parametrize(
        ("happens", "sentence"),
        [
            (Simulator.interrupt, "Somebody stopped this picture."),
            (Simulator.forget, "The image server was restarted and forgot the picture."),
        ],
        ids=["cancelled", "lost"],
    )
    def test_ended_by_somebody_else(
        self, app: App, comfyui: Simulator, happens: Callable[[Simulator], None], sentence: str
    ) -> None:
        comfyui.hold()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(app.say, "a red fox")
            comfyui.wait_for("running")
            happens(comfyui)
            run = answer.result(timeout=60)

        assert run.outputs["answer"].startswith(sentence)
