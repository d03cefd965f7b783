"""The parameters of Dify's tools as values. Pure."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from comfybridge import difymodels, reading
from comfybridge.convert import read_saved
from comfybridge.difymodels import DifyModel
from comfybridge.enhancing import Wish, styled
from comfybridge.errors import InvalidInput
from comfybridge.filling import Inputs
from comfybridge.library import Named, Pasted, Source
from comfybridge.media import InputFile
from comfybridge.moderation import NONE, BlockedWords
from comfybridge.pictures import FORMATS, Form
from comfybridge.template import AUTO

OUTPUTS = ("image", "markdown", "both")
AFTER_TIMEOUT = ("keep", "cancel")
IMAGE_SIZES = (*reading.SIZES, *reading.PLATFORM_SIZES)
VIDEO_SIZES = ("16:9", "9:16", "1:1", "4:3", "3:4")
"""What ``text2video`` offers."""
TIMEOUT_DEFAULT_S, TIMEOUT_MAX_S = 240, 570
"""Dify's daemon kills a call at 600 s."""
SERVERLESS_TIMEOUT_MAX_S = 270
"""Dify Cloud's limit is 300 s."""

# How language models wrap what they write down.
_FENCE = re.compile(r"```\w*\s(.*?)\s*```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator and the host allow; the prompt's length in characters."""

    max_prompt_length: int
    serverless: bool
    blocked_words: BlockedWords = NONE


@dataclass(frozen=True, slots=True)
class Attached:
    """A file as the caller attached it."""

    data: bytes
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool. ``attachments`` and ``masks`` are as Dify gave them; ``from_prompt_id`` may be empty.

    ``inputs`` are for what is drawn without ``enhance``, the house style included.
    """

    source: Source
    inputs: Inputs
    output: str
    form: Form
    wait: bool
    timeout_s: float
    progress: bool
    idempotency_key: str = ""
    keeps_on: bool = True
    attachments: tuple[Any, ...] = ()
    masks: tuple[Any, ...] = ()
    image_urls: tuple[str, ...] = ()
    mask_urls: tuple[str, ...] = ()
    from_prompt_id: str = ""
    moderation_model: DifyModel | None = None
    enhance: Wish | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that the caller says in words."""
        said = (self.inputs.positive, self.inputs.negative, *texts(self.inputs.values))
        return tuple(text for text in said if text and text.strip())

    def with_files(self, files: tuple[InputFile, ...]) -> Self:
        return replace(self, inputs=replace(self.inputs, files=files)) if files else self


def text2image(values: Mapping[str, Any], limits: Limits) -> Call:
    """Read the parameters of the tool.

    Raises:
        InvalidInput: the first one that cannot be used, with what it may be.
    """
    prompt, negative = _prompts(values, limits)
    if not prompt.strip():
        raise InvalidInput("prompt is empty: say what the picture shows.", "prompt 为空：请描述画面内容。")
    style = _style(values, limits)
    inputs = Inputs(
        positive=styled(prompt, style),
        negative=negative or None,
        seed=reading.seed(values),
        **reading.size(values),
        steps=reading.whole(values, "steps", reading.STEPS_LIMITS),
        cfg=reading.number(values, "cfg", reading.CFG_LIMITS),
        sampler=reading.text(values, "sampler").strip() or None,
        scheduler=reading.text(values, "scheduler").strip() or None,
        model=reading.text(values, "model").strip() or None,
        loras=reading.loras(values),
        count=reading.whole(values, "count", reading.COUNT_LIMITS) or 1,
    )
    return Call(
        source=Named(reading.text(values, "template").strip() or AUTO),
        inputs=inputs,
        moderation_model=difymodels.read(values, "moderation_model"),
        enhance=_enhance(values, prompt, style, "text2image", () if reading.has_size(values) else IMAGE_SIZES),
        **_answering(values, limits),
        **_repeating(values),
    )


def run_workflow(values: Mapping[str, Any], limits: Limits, *, attached: Attached | None) -> Call:
    """Read the parameters of the tool; ``attached`` is the file with the workflow.

    Raises:
        InvalidInput: the first one that cannot be used, with what it may be.
    """
    prompt, negative = _prompts(values, limits)
    style = _style(values, limits)
    inputs = Inputs(
        # An empty prompt leaves the workflow's own text.
        positive=styled(prompt, style) if prompt.strip() else None,
        negative=negative or None,
        seed=reading.seed(values),
        values=reading.named_values(values),
    )
    source = _workflow(values, attached)
    for text in texts(inputs.values):
        check_text("values", text, limits)
    if isinstance(source, Pasted) and limits.blocked_words:
        # A workflow that comes with the call has texts of its own.
        for text in texts(source.saved):
            check_text("workflow", text, limits)
    return Call(
        source=source,
        inputs=inputs,
        **_given_pictures(values, "images"),
        moderation_model=difymodels.read(values, "moderation_model"),
        enhance=_enhance(values, prompt, style, ""),
        **_answering(values, limits),
        **_repeating(values),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """One call that is about jobs which were submitted before."""

    prompt_ids: tuple[str, ...]
    output: str
    form: Form
    timeout_s: float
    progress: bool


def earlier(values: Mapping[str, Any], limits: Limits) -> Earlier:
    """Read the parameters of a tool that takes the ``prompt_id`` of an earlier call.

    Raises:
        InvalidInput: the first one that cannot be used, with what it may be.
    """
    ids = reading.prompt_ids(values)
    answering = _answering(values, limits)
    return Earlier(
        prompt_ids=ids,
        output=answering["output"],
        form=answering["form"],
        timeout_s=answering["timeout_s"],
        progress=answering["progress"],
    )


def image2image(values: Mapping[str, Any], limits: Limits) -> Call:
    """Raises InvalidInput, as all of these, for the first parameter that cannot be used."""
    return _of_task("image2image", values, limits, pictures="images")


def inpaint(values: Mapping[str, Any], limits: Limits) -> Call:
    return _of_task("inpaint", values, limits, pictures="image", named={"grow_mask": reading.GROW_LIMITS})


def upscale(values: Mapping[str, Any], limits: Limits) -> Call:
    return _of_task(
        "upscale", values, limits, has_prompt=False, pictures="image", named={"scale": reading.SCALE_LIMITS}
    )


def text2video(values: Mapping[str, Any], limits: Limits) -> Call:
    return _of_task("text2video", values, limits, size={"size": "16:9"}, named={"fps": reading.FPS_LIMITS})


def image2video(values: Mapping[str, Any], limits: Limits) -> Call:
    """Without a size, the video gets the shape of the picture, where that can be told."""
    return _of_task("image2video", values, limits, pictures="image", size={}, named={"fps": reading.FPS_LIMITS})


def text2audio(values: Mapping[str, Any], limits: Limits) -> Call:
    return _of_task("text2audio", values, limits)


def _of_task(
    task: str,
    values: Mapping[str, Any],
    limits: Limits,
    *,
    has_prompt: bool = True,
    pictures: str | None = None,
    size: Mapping[str, Any] | None = None,
    named: Mapping[str, tuple[float, float]] | None = None,
) -> Call:
    """A call of the tool of a task: ``pictures`` names its parameter for files, ``size`` its default one.

    ``named`` are numbers that templates know under the same name, with their limits.
    """
    positive, negative = _prompts(values, limits)
    if has_prompt and not positive.strip():
        raise InvalidInput("prompt is empty: say what is to be made.", "prompt 为空：请描述要生成的内容。")
    own: dict[str, Any] = {}
    for name, bounds in (named or {}).items():
        number = reading.number(values, name, bounds)
        if number is not None:
            own[name] = number
    if lyrics := reading.text(values, "lyrics"):
        check_prompt("lyrics", lyrics, limits)
        own["lyrics"] = lyrics
    sized: dict[str, Any] = {}
    has_size = size is not None and reading.has_size(values)
    if has_size or size:
        given = {name: value for name, value in values.items() if value not in (None, "", reading.AUTO_SIZE)}
        sized = reading.size({**(size or {}), **given})
    style = _style(values, limits) if has_prompt else ""
    inputs = Inputs(
        positive=styled(positive, style) if has_prompt else None,
        negative=negative or None,
        seed=reading.seed(values),
        **sized,
        steps=reading.whole(values, "steps", reading.STEPS_LIMITS),
        cfg=reading.number(values, "cfg", reading.CFG_LIMITS),
        denoise=reading.number(values, "strength", (0, 1)),
        seconds=reading.number(values, "seconds", reading.SECONDS_LIMITS),
        model=reading.text(values, "model").strip() or None,
        loras=reading.loras(values),
        count=reading.whole(values, "count", reading.COUNT_LIMITS) or 1,
        values=own,
    )
    return Call(
        source=Named(reading.text(values, "template").strip() or AUTO, task),
        inputs=inputs,
        moderation_model=difymodels.read(values, "moderation_model"),
        # A video that begins with a picture has its shape.
        enhance=_enhance(values, positive, style, task, VIDEO_SIZES if size and not has_size else ()),
        **(_given_pictures(values, pictures) if pictures else {}),
        **_answering(values, limits),
        **_repeating(values),
    )


def _given_pictures(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a caller gives for the graph to load; ``name`` is the parameter with the files."""
    return {
        "attachments": _files(values.get(name)),
        "masks": _files(values.get("mask")),
        "image_urls": _addresses(values, "image_url"),
        "mask_urls": _addresses(values, "mask_url"),
        "from_prompt_id": reading.text(values, "from_prompt_id").strip(),
    }


def _files(value: Any) -> tuple[Any, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple(file for file in listed if file not in (None, ""))


def _addresses(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[\s,，]+", reading.text(values, name))))


SHOWN = ("summary", "templates", "workflows", "models", "loras", "samplers")


@dataclass(frozen=True, slots=True)
class Question:
    """One call of ``server_info``: what to show, and a part of the names to be shown; empty for all."""

    show: str
    search: str


def server_info(values: Mapping[str, Any]) -> Question:
    """Raises InvalidInput for what cannot be shown."""
    return Question(reading.choice(values, "show", SHOWN, default="summary"), reading.text(values, "search").strip())


def _repeating(values: Mapping[str, Any]) -> dict[str, Any]:
    """What becomes of a call that is repeated, or late."""
    key = reading.key(values, "idempotency_key")
    after = reading.choice(values, "after_timeout", AFTER_TIMEOUT, default="keep")
    return {"idempotency_key": key, "keeps_on": after == "keep"}


def _style(values: Mapping[str, Any], limits: Limits) -> str:
    style = reading.text(values, "style")
    check_prompt("style", style, limits)
    return style


def _enhance(
    values: Mapping[str, Any], sentence: str, style: str, task: str, sizes: tuple[str, ...] = ()
) -> Wish | None:
    model = difymodels.read(values, "enhance_with")
    if model is None or not sentence.strip():
        return None
    return Wish(model=model, sentence=sentence, style=style, task=task, sizes=sizes)


def _prompts(values: Mapping[str, Any], limits: Limits) -> tuple[str, str]:
    prompt, negative = reading.text(values, "prompt"), reading.text(values, "negative_prompt")
    for name, text in (("prompt", prompt), ("negative_prompt", negative)):
        check_prompt(name, text, limits)
    return prompt, negative


def _answering(values: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """How the answer is wanted, the same for all tools."""
    longest = SERVERLESS_TIMEOUT_MAX_S if limits.serverless else TIMEOUT_MAX_S
    timeout_s = reading.number(values, "timeout", (1, math.inf)) or TIMEOUT_DEFAULT_S
    return {
        "output": reading.choice(values, "output", OUTPUTS, default="image"),
        "form": Form(
            reading.choice(values, "format", FORMATS, default="original"),
            reading.flag(values, "keep_metadata", default=True),
        ),
        "wait": reading.flag(values, "wait", default=True),
        "timeout_s": min(timeout_s, longest),
        "progress": reading.flag(values, "progress", default=False),
    }


def _workflow(values: Mapping[str, Any], attached: Attached | None) -> Source:
    """What to run: the attached file, pasted JSON, or a name."""
    value = values.get("workflow")
    text = reading.text(values, "workflow").strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1]
    if attached is not None:
        if text:
            raise InvalidInput(
                "Both workflow and workflow_file were given: leave one of them empty.",
                "同时提供了 workflow 和 workflow_file：请只保留一个。",
            )
        name = attached.filename.rpartition(".")[0] or attached.filename or "workflow"
        return Pasted(read_saved(attached.data), name)
    if isinstance(value, Mapping):
        return Pasted(value)
    if text.startswith(("{", "[")):
        return Pasted(read_saved(text.encode(errors="replace")))
    if not text:
        raise InvalidInput(
            "workflow is empty: give a template's name, the name of a workflow saved in ComfyUI, or its JSON.",
            "workflow 为空：请填写模板名、ComfyUI 中保存的工作流名，或粘贴工作流 JSON。",
        )
    return Named(text)


def check_prompt(name: str, text: str, limits: Limits) -> None:
    """Raises InvalidInput for a prompt that is too long, and as ``check_text``."""
    longest = limits.max_prompt_length
    if len(text) > longest:
        raise InvalidInput(
            f"{name} has {len(text)} characters, the limit is {longest}: shorten it.",
            f"{name} 有 {len(text)} 个字符，上限为 {longest}：请缩短。",
        )
    check_text(name, text, limits)


def check_text(name: str, text: str, limits: Limits) -> None:
    """Raises InvalidInput for what nobody types, and for what the operator blocks."""
    if found := reading.UNTYPED.search(text):
        if found[0] >= "\ud800":
            raise InvalidInput(f"{name} holds half a character (a lone surrogate).", f"{name} 包含不完整的字符。")
        place, code = found.start() + 1, f"U+{ord(found[0]):04X}"
        raise InvalidInput(
            f"{name} holds a control character ({code}, character {place}): take it out.",
            f"{name} 的第 {place} 个字符是控制字符（{code}）：请删除。",
        )
    if (word := limits.blocked_words.find(text)) is not None:
        shown = reading.shown(" ".join(word.split()))
        raise InvalidInput(
            f"{name} holds a word that the operator of this app blocks: {shown}. Say it without.",
            f"{name} 包含本应用管理员屏蔽的词语：{shown}。请修改后重试。",
        )


def texts(value: Any) -> Iterator[str]:
    """All texts in a value as JSON has them."""
    match value:
        case str():
            yield value
        case Mapping():
            for each in value.values():
                yield from texts(each)
        case list() | tuple():
            for each in value:
                yield from texts(each)
