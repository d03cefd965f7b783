"""Follow a graph's wires to the literals that people edit: numbers, choices, texts, files. Pure.

Everything goes by the names of inputs, so that it works for node classes that nobody listed here.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from comfybridge.graph import Graph, InputRef, Link, as_link, input_spec, spec_options, title

# Names of inputs, as ComfyUI's own nodes and the common packs spell them.
TEXT = (
    "text",
    "prompt",
    "text_g",
    "text_l",
    "clip_g",
    "clip_l",
    "t5xxl",
    "llama",
    "qwen25_7b",
    "bert",
    "mt5xl",
    "user_prompt",
    "prompt_text",
    "text_prompt",
    "tags",
)
"""What a text encoder, or a node that makes a picture by itself, calls the prompt."""

# The two prompts of a node that takes both.
_SIDED = (("positive_prompt", "positive"), ("negative_prompt", "negative"))
_PRIMITIVE = (
    "value",
    "text",
    "string",
    "prompt",
    "seed",
    "noise_seed",
    "int",
    "float",
    "number",
    "choice",
    "default",
    "default_value",
)
# What a node that makes a text of other texts takes; an index may follow, as in string_a or text1.
_STRINGS = re.compile(
    r"(texts?|string|str|prompt|user_prompt|value|input|replace|default|default_value|choice)(_?[a-z0-9]{1,2})?"
)
_FILLS = ("replace",)
# A condition and the two inputs between which it chooses.
_SWITCHES = (
    ("switch", "on_true", "on_false"),
    ("boolean", "on_true", "on_false"),
    ("condition", "if_true", "if_false"),
)
# Words in the class of a node that hands its first wired input on as it is.
_HANDS_ON = ("reroute", "any switch", "anyswitch")
_SAYS_PROMPT = re.compile(r"prompt|positive|提示词|正向|正面")
_SAYS_OTHER = re.compile(r"template|system|trigger|negative|模板|系统|触发|负|反向")
_UPLOADS = {
    "image_upload": "images",
    "animated_image_upload": "images",
    "video_upload": "video",
    "audio_upload": "audio",
}
# The same for classes without a definition.
_LOADERS = {
    "LoadImage": ("image", "images"),
    "LoadImageMask": ("image", "images"),
    "LoadImageOutput": ("image", "images"),
    "LoadVideo": ("file", "video"),
    "LoadAudio": ("audio", "audio"),
    "VHS_LoadVideo": ("video", "video"),
    "VHS_LoadAudioUpload": ("audio", "audio"),
}


def source(graph: Graph, link: Link | None) -> Link | None:
    """The output that a link really leads to, through switches and reroutes; ``None`` when there is no such node."""
    seen: set[str] = set()
    while link is not None and link.node_id in graph.prompt and link.node_id not in seen:
        seen.add(link.node_id)
        behind = _handed_on(graph, link.node_id)
        if behind is None:
            return link
        link = behind
    return None


def effective(graph: Graph, node_ids: Iterable[str]) -> set[str]:
    """The nodes and everything that has an effect on them: of a switch, only the branch that it takes."""
    seen: set[str] = set()
    waiting = list(node_ids)
    while waiting:
        node_id = waiting.pop()
        if node_id not in seen and node_id in graph.prompt:
            seen.add(node_id)
            links = graph.links(node_id)
            taken = _handed_on(graph, node_id)
            if taken is not None:
                branches = {branch for _, *both in _SWITCHES for branch in both}
                links = {name: link for name, link in links.items() if link == taken or name not in branches}
            waiting += [link.node_id for link in links.values()]
    return seen


def settable(graph: Graph, node_id: str, names: Sequence[str]) -> list[InputRef]:
    """The first named input that the node has, followed over wires to the literal that feeds it."""
    ref, _ = settable_or_end(graph, node_id, names)
    return [ref] if ref is not None else []


def settable_or_end(graph: Graph, node_id: str, names: Sequence[str]) -> tuple[InputRef | None, str]:
    """The literal that feeds the input, else ``None`` and the node at which its wires end in something else."""
    seen: set[str] = set()
    wanted = tuple(names)
    while node_id not in seen:
        seen.add(node_id)
        inputs = graph.inputs(node_id)
        name = next((name for name in wanted if name in inputs), None)
        if name is None:
            break
        link = as_link(inputs[name])
        if link is None:
            return (InputRef(node_id, name) if isinstance(inputs[name], str | int | float) else None), node_id
        behind = source(graph, link)
        if behind is None:
            break
        # A node may hand the value on under its own name, as WanCameraEmbedding does its width.
        node_id, wanted = behind.node_id, (*names, *_PRIMITIVE)
    return None, node_id


def texts(graph: Graph, node_id: str, side: int, *, is_encoder: bool = True) -> list[InputRef]:
    """The texts of a node for the positive (0) or negative (1) prompt, followed to where people edit them.

    What an encoder says counts for the side that it is wired to; any other node needs a ``negative_prompt`` for that.
    """
    inputs = graph.inputs(node_id)
    names: Sequence[str] = [
        name for name in _SIDED[side] if isinstance(inputs.get(name), str) or (name in inputs and "_" in name)
    ]
    if not names and (is_encoder or not side):
        names = [name for name in TEXT if name in inputs]
    refs = [_edited(graph, node_id, name) for name in names]
    return [ref for ref in refs if ref is not None]


def plain(words: str) -> str:
    """A title or a name without case, punctuation and full-width letters, to compare it."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", words).casefold()).strip()


def uploads(graph: Graph, node_id: str) -> list[tuple[str, InputRef]]:
    """The node's inputs that name an uploaded file, each after its role: ``images``, ``video`` or ``audio``."""
    found: list[tuple[str, InputRef]] = []
    definition = graph.definition(node_id)
    for name, value in graph.inputs(node_id).items():
        role = _LOADERS.get(graph.class_type(node_id), ("", ""))
        flags = spec_options(input_spec(definition, name))
        by_flag = next((by for flag, by in _UPLOADS.items() if flags.get(flag)), None)
        if by_flag is None and name == role[0]:
            by_flag = role[1]
        if by_flag is not None and isinstance(value, str):
            found.append((by_flag, InputRef(node_id, name)))
    return found


def _handed_on(graph: Graph, node_id: str) -> Link | None:
    inputs, links = graph.inputs(node_id), graph.links(node_id)
    for condition, on_true, on_false in _SWITCHES:
        if condition in inputs and (on_true in links or on_false in links):
            return links.get(on_true if _is_on(graph, node_id, condition) else on_false)
    if any(word in graph.class_type(node_id).lower() for word in _HANDS_ON):
        return next(iter(links.values()), None)
    return None


def _is_on(graph: Graph, node_id: str, condition: str) -> bool:
    # One wire only: a condition that another switch chooses could lead back here.
    link = graph.links(node_id).get(condition)
    if link is None:
        return graph.inputs(node_id)[condition] is True
    inputs = graph.inputs(link.node_id)
    return any(inputs.get(name) is True for name in _PRIMITIVE)


def _edited(graph: Graph, node_id: str, name: str) -> InputRef | None:
    value = graph.inputs(node_id)[name]
    if isinstance(value, str):
        return InputRef(node_id, name)
    link = as_link(value)
    found = _strings(graph, link) if link is not None else []
    return max(found, key=lambda candidate: candidate[0])[1] if found else None


def _strings(graph: Graph, link: Link) -> list[tuple[tuple[int, ...], InputRef]]:
    """The literals that a text is made of, each after how likely it is the one that people edit.

    What a title calls the prompt comes first, then what fills a template's gap, then the only text of its node, then
    the longest.
    """
    found: list[tuple[tuple[int, ...], InputRef]] = []
    seen: set[str] = set()
    waiting = [(link, False)]
    while waiting:
        further, fills = waiting.pop()
        behind = source(graph, further)
        if behind is None or behind.node_id in seen:
            continue
        seen.add(behind.node_id)
        inputs = graph.inputs(behind.node_id)
        names = [name for name in inputs if _STRINGS.fullmatch(name)]
        label = title(graph.prompt, behind.node_id).casefold()
        is_titled = bool(_SAYS_PROMPT.search(label)) and not _SAYS_OTHER.search(label)
        for name in names:
            value, is_filling = inputs[name], fills or name in _FILLS
            wired = as_link(value)
            if wired is not None:
                waiting.append((wired, is_filling))
            elif isinstance(value, str):
                likely = (is_titled, is_filling, len(names) == 1, len(value))
                found.append((likely, InputRef(behind.node_id, name)))
    return found
