"""What users have written into a graph to name its inputs: titles, the marker nodes of other tools, placeholders. Pure.

A name that means a role counts as that role; any other is a name of its own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from comfybridge.graph import Graph, InputRef, as_link, title
from comfybridge.wires import plain, settable, texts, uploads

ROLES = (
    "positive",
    "negative",
    "seed",
    "steps",
    "cfg",
    "sampler",
    "scheduler",
    "denoise",
    "width",
    "height",
    "batch",
    "model",
    "loras",
    "images",
    "masks",
    "video",
    "audio",
)
"""What a graph's inputs can mean; the names that sidecars and callers use too."""

FILES = ("images", "masks", "video", "audio")
"""The roles that stand for uploaded files."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "seed": ("seed", "noise_seed"),
    "steps": ("steps",),
    "cfg": ("cfg", "cfg_conds", "cfg_scale", "guidance_scale", "guidance"),
    "sampler": ("sampler_name",),
    "scheduler": ("scheduler",),
    "denoise": ("denoise", "denoise_strength", "image_denoise"),
    "width": ("width", "resize_type.width", "target_width", "empty_latent_width"),
    "height": ("height", "resize_type.height", "target_height", "empty_latent_height"),
    "batch": ("batch_size", "batch", "num_images", "max_images", "n"),
    "model": ("ckpt_name", "unet_name", "model_name", "model", "model_path", "model_version"),
    "loras": ("lora_name",),
}
"""Role -> what nodes call such an input."""

_VALUES = ("value", "text", "string", "prompt", "int", "float", "number", "choice", "default", "default_value")
# As a whole title or name, without case and punctuation.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "positive": (
        "positive prompt",
        "prompt",
        "prompt positive",
        "user prompt",
        "input prompt",
        "input text",
        "prompt text",
        "text prompt",
        "正向提示词",
        "正面提示词",
        "正向",
        "正面",
        "正向条件",
        "提示词",
        "用户提示词",
        "输入提示词",
    ),
    "negative": (
        "negative prompt",
        "prompt negative",
        "neg",
        "负向提示词",
        "负面提示词",
        "反向提示词",
        "负向",
        "负面",
        "反向",
    ),
    "seed": ("noise seed", "random seed", "input seed", "种子", "随机种子", "噪声种子"),
    "steps": ("step count", "sampling steps", "步数", "采样步数"),
    "cfg": ("cfg scale", "guidance scale", "引导系数", "提示词引导系数"),
    "sampler": ("sampler name", "采样器", "采样方法"),
    "scheduler": ("scheduler name", "调度器"),
    "denoise": ("denoise strength", "denoising strength", "降噪", "降噪强度", "重绘幅度", "重绘强度"),
    "width": ("image width", "output width", "宽", "宽度", "图像宽度", "图片宽度"),
    "height": ("image height", "output height", "高", "高度", "图像高度", "图片高度"),
    "batch": ("batch size", "批次", "批次大小", "批量大小", "数量", "图片数量"),
    "model": ("checkpoint", "ckpt", "model name", "模型", "大模型", "底模", "主模型"),
    "loras": ("lora", "lora name"),
    "images": ("image", "input image", "source image", "init image", "图片", "图像", "输入图片", "输入图像", "参考图"),
    "masks": ("mask", "input mask", "蒙版", "遮罩"),
    "video": ("input video", "视频", "输入视频"),
    "audio": ("input audio", "音频", "输入音频"),
}
_ROLE_OF = {alias: role for role in ROLES for alias in (role, *_ALIASES[role])}

_TITLE_PREFIX = re.compile(r"VC_(?:BASIC|ADVANCED|ADV)[\s:_-]*(.*)", re.DOTALL)
# The marker nodes of other tools: how their class begins, what holds the name (none: the title), what the value.
_MARKER_NODES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "CPackInput": ((), ("value", "image", "file", "input")),
    "ComfyUIDeployExternal": (("input_id",), ("default_value", "default_value_url", "input_id")),
    "ETN_Parameter": (("name",), ("default",)),
    "SwarmInput": (("title",), ("value", "image")),
    "ServingInput": (("argument",), ("default",)),
}
# What says the role by itself, where ETN_Parameter has it.
_MARKER_TYPES = {"prompt (positive)": "positive", "prompt (negative)": "negative"}
# Titles that comfy-pack's nodes have before anybody names them: then the input they feed names them.
_UNNAMED = frozenset(("image input", "string input", "int input", "file input", "any input"))
# SillyTavern's word, too common for a title.
_PLACEHOLDER_ROLES = {"scale": "cfg"}
_PLACEHOLDER = re.compile(r"%([A-Za-z_]+)%|\$\{([A-Za-z_]+)\}|\{\{\s*([A-Za-z_]+)\s*\}\}")
# ComfyUI's own front end fills %width% and the like in these.
_NO_PLACEHOLDERS = re.compile(r"filename|prefix|path|folder|delimiter|regex|find")


@dataclass(slots=True)
class Marks:
    """The marked inputs by role, and by the names that mean no role.

    ``placeholders`` tells, by role or name and input, what to replace in a text that holds a placeholder.
    """

    roles: dict[str, list[InputRef]] = field(default_factory=dict)
    named: dict[str, list[InputRef]] = field(default_factory=dict)
    placeholders: dict[tuple[str, InputRef], str] = field(default_factory=dict)

    def add(self, name: str, refs: Iterable[InputRef], role: str | None = None) -> None:
        role = role or _ROLE_OF.get(plain(name))
        marked = self.roles.setdefault(role, []) if role else self.named.setdefault(name, [])
        marked += [ref for ref in refs if ref not in marked]


def role_of(name: str) -> str | None:
    """The role that a name means, in English or Chinese; ``None`` when it means none."""
    return _ROLE_OF.get(plain(name))


def read(graph: Graph, node_ids: Iterable[str]) -> Marks:
    """Read the marks of these nodes."""
    marks = Marks()
    for node_id in node_ids:
        if not _marker_node(graph, node_id, marks):
            _titled(graph, node_id, marks)
            for name, token, ref in _placeholders(graph, node_id):
                role = _PLACEHOLDER_ROLES.get(name) or _ROLE_OF[plain(name)]
                marks.add(name, [ref], role)
                marks.placeholders[role, ref] = token
    marks.roles = {role: refs for role, refs in marks.roles.items() if refs}
    marks.named = {name: refs for name, refs in marks.named.items() if refs}
    return marks


def _marker_node(graph: Graph, node_id: str, marks: Marks) -> bool:
    class_type, inputs = graph.class_type(node_id), graph.inputs(node_id)
    for prefix, (names, values) in _MARKER_NODES.items():
        if class_type.startswith(prefix):
            name = next((str(inputs[name]) for name in names if isinstance(inputs.get(name), str)), "")
            name = name or _title_or_fed(graph, node_id)
            role = _MARKER_TYPES.get(str(inputs.get("type", "")))
            marks.add(
                name, settable(graph, node_id, [value for value in values if _is_literal(graph, node_id, value)]), role
            )
            return True
    return False


def _title_or_fed(graph: Graph, node_id: str) -> str:
    own = title(graph.prompt, node_id)
    if plain(own) not in _UNNAMED and own != graph.class_type(node_id):
        return own
    fed = (name for other in graph.prompt for name, link in graph.links(other).items() if link.node_id == node_id)
    return next(fed, own)


def _titled(graph: Graph, node_id: str, marks: Marks) -> None:
    own = title(graph.prompt, node_id)
    prefixed = _TITLE_PREFIX.match(own)
    if prefixed is not None:
        own = prefixed.group(1).strip() or graph.class_type(node_id)
    role = _ROLE_OF.get(plain(own))
    if role is not None:
        marks.add(own, _for_role(graph, node_id, role), role)
    elif prefixed is not None:
        refs = texts(graph, node_id, 0) or settable(graph, node_id, _VALUES)
        marks.add(own, refs or [ref for _, ref in uploads(graph, node_id)] or _first_literal(graph, node_id))


def _for_role(graph: Graph, node_id: str, role: str) -> list[InputRef]:
    """The input of a node titled as a role that can hold it; none, and the title means something else."""
    if role in ("positive", "negative"):
        refs = texts(graph, node_id, int(role == "negative")) or settable(graph, node_id, _VALUES)
        return [ref for ref in refs if isinstance(graph.value(ref), str)]
    if role in FILES:
        return [ref for kind, ref in uploads(graph, node_id) if kind == role or (kind, role) == ("images", "masks")]
    refs = settable(graph, node_id, NAMES[role]) or settable(graph, node_id, _VALUES)
    is_text = role in ("sampler", "scheduler", "model", "loras")
    return [ref for ref in refs if isinstance(graph.value(ref), str) == is_text]


def _placeholders(graph: Graph, node_id: str) -> Iterator[tuple[str, str, InputRef]]:
    for name, value in graph.inputs(node_id).items():
        if not isinstance(value, str) or _NO_PLACEHOLDERS.search(name):
            continue
        for match in _PLACEHOLDER.finditer(value):
            word = next(word for word in match.groups() if word)
            # Dynamic prompts and templates have braces of their own: only what means a role is a placeholder.
            if word in _PLACEHOLDER_ROLES or plain(word) in _ROLE_OF:
                yield word, match.group(0), InputRef(node_id, name)


def _first_literal(graph: Graph, node_id: str) -> list[InputRef]:
    inputs = graph.inputs(node_id)
    return [InputRef(node_id, name) for name in inputs if _is_literal(graph, node_id, name)][:1]


def _is_literal(graph: Graph, node_id: str, name: str) -> bool:
    value = graph.inputs(node_id).get(name)
    return isinstance(value, str | int | float) and as_link(value) is None
