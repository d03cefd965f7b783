"""Find the nodes that make something in a graph, their settings and the texts behind them. Pure.

These are the stages: samplers, found by what is wired to them, and nodes that take a prompt themselves and make a
picture, a video or a sound of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comfybridge.graph import Graph, InputRef, Link
from comfybridge.marks import NAMES
from comfybridge.wires import settable, source, texts

_SEED = NAMES["seed"]
# Inputs of a sampler behind which its settings live in other nodes (SamplerCustomAdvanced and friends).
_SETTINGS = ("guider", "noise", "sampler", "sigmas")
_CONDITIONING = (("positive", "conditioning", "cond1", "text_embeds"), ("negative", "text_embeds"))
# Wires that carry one picture on as a latent, from stage to stage.
LATENT = (
    "latent_image",
    "latent",
    "samples",
    "latents",
    "video_latent",
    "av_latent",
    "image_embeds",
    "samples_to",
    "destination",
)
# What a conditioning node may take besides conditioning; no prompt text lies behind these.
_NOT_CONDITIONING = frozenset(
    (
        "clip",
        "clip_vision",
        "clip_vision_output",
        "control_net",
        "image",
        "image1",
        "image2",
        "image3",
        "latent",
        "mask",
        "model",
        "pixels",
        "start_image",
        "style_model",
        "vae",
    )
)
# Turns a conditioning into nothing: whatever text lies behind it has no effect.
_ZEROES = frozenset(("ConditioningZeroOut",))
# A node that takes a prompt and one of these, and neither a text encoder nor a wired conditioning, makes something.
_GENERATES = ("seed", "model", "model_name", "model_version", "duration", "aspect_ratio")
_MEDIA = frozenset(("IMAGE", "VIDEO", "AUDIO", "SVG", "MESH", "MODEL_TASK_ID"))
_PROMPT = ("prompt", "prompt_text", "text_prompt", "positive_prompt", "text", "gpt_prompt")


@dataclass(frozen=True, slots=True)
class Stage:
    """A node that makes something, with the text nodes behind it: for the positive side, for the negative one.

    ``is_zeroed`` says that the negative side is there and turned into nothing.
    """

    node_id: str
    encoders: tuple[tuple[str, ...], tuple[str, ...]]
    texts: tuple[tuple[InputRef, ...], tuple[InputRef, ...]]
    is_zeroed: bool

    @property
    def makes_itself(self) -> bool:
        """Whether the node takes the prompt itself; a sampler is told by text encoders."""
        return self.encoders[0] == (self.node_id,)


def find_stages(graph: Graph, used: Sequence[str]) -> list[Stage]:
    """The nodes that make something, first stage first: a later one has the earlier ones upstream."""
    samplers = [node_id for node_id in used if _samples(graph, node_id)]
    makers = samplers or [node_id for node_id in used if _generates(graph, node_id, frozenset(("STRING",)))]
    if samplers:
        makers = [node_id for node_id in used if node_id in samplers or _generates(graph, node_id, frozenset())]
    behind = {node_id: graph.upstream([node_id]) for node_id in makers}
    ordered = sorted(makers, key=lambda node_id: len(behind[node_id].intersection(makers)))
    return [_stage(graph, node_id, is_sampler=node_id in samplers) for node_id in ordered]


def _samples(graph: Graph, node_id: str) -> bool:
    wired, inputs = graph.links(node_id), graph.inputs(node_id)
    if "guider" in wired:
        return True
    has_seed = any(name in inputs for name in _SEED)
    return has_seed and ("positive" in wired or ("model" in wired and "steps" in inputs))


def _generates(graph: Graph, node_id: str, also: frozenset[str]) -> bool:
    """Whether a node takes a prompt itself and makes something of it; ``also`` counts too, and unknown classes then."""
    inputs, wired = graph.inputs(node_id), graph.links(node_id)
    if "clip" in wired or not any(name in inputs for name in _PROMPT):
        return False
    definition = graph.definition(node_id)
    made = definition.get("output")
    makes = bool(_MEDIA.union(also).intersection(map(str, made))) if isinstance(made, list) else bool(also)
    return makes and (bool(definition.get("api_node")) or any(name in inputs for name in _GENERATES))


def _stage(graph: Graph, node_id: str, *, is_sampler: bool) -> Stage:
    if not is_sampler:
        own = tuple(tuple(texts(graph, node_id, side, is_encoder=False)) for side in (0, 1))
        return Stage(node_id, ((node_id,), (node_id,)), (own[0], own[1]), is_zeroed=False)
    sides = [_encoders(graph, node_id, side) for side in (0, 1)]
    said = [
        tuple(ref for encoder in encoders for ref in texts(graph, encoder, side))
        for side, (encoders, _) in enumerate(sides)
    ]
    return Stage(node_id, (sides[0][0], sides[1][0]), (said[0], said[1]), is_zeroed=sides[1][1])


def main_stage(graph: Graph, stages: Sequence[Stage], outputs: Iterable[str]) -> Stage:
    """The stage that the settings are those of: the first with a text that leads to the first thing saved.

    A first stage without a text is an auxiliary one, such as a depth estimate for a ControlNet.
    """
    with_text = [stage for stage in stages if stage.encoders[0]]
    # A sampler has the settings; what takes a prompt itself beside one only prepares or goes on.
    with_text = [stage for stage in with_text if not stage.makes_itself] or with_text
    for output in sorted(outputs, key=lambda node_id: graph.class_type(node_id).startswith("Preview")):
        behind = graph.upstream([output])
        first = next((stage for stage in with_text if stage.node_id in behind), None)
        if first is not None:
            return first
    return (with_text or stages)[0]


def goes_on(graph: Graph, stage: Stage, main: Stage) -> bool:
    """Whether a stage is the main one or goes on with its latent, or the main one with that of the stage."""
    return main.node_id in graph.upstream([stage.node_id], LATENT) or stage.node_id in graph.upstream(
        [main.node_id], LATENT
    )


def setting_nodes(graph: Graph, sampler: str) -> list[str]:
    """The sampler and the nodes that hold its settings: guider, noise, sampler, sigmas, and those behind them."""
    nodes = [sampler]
    for name in _SETTINGS:
        link = source(graph, graph.linked(sampler, (name,)))
        while link is not None and link.node_id not in nodes:
            nodes.append(link.node_id)
            link = source(graph, graph.linked(link.node_id, (name,)))
    return nodes


def setting(graph: Graph, sampler: str, names: Sequence[str]) -> list[InputRef]:
    for node_id in setting_nodes(graph, sampler):
        if refs := settable(graph, node_id, names):
            return refs
    return []


def _encoders(graph: Graph, sampler: str, side: int) -> tuple[tuple[str, ...], bool]:
    """The text encoders behind the sampler's positive (0) or negative (1) conditioning, and whether it is zeroed."""
    for node_id in setting_nodes(graph, sampler):
        link = graph.linked(node_id, _CONDITIONING[side])
        if link is not None:
            return _encoders_behind(graph, link, side)
    return (), False


def _encoders_behind(graph: Graph, first: Link, side: int) -> tuple[tuple[str, ...], bool]:
    found: list[str] = []
    is_zeroed = False
    seen: set[tuple[str, bool]] = set()
    waiting = [first]
    while waiting:
        link = source(graph, waiting.pop())
        if link is None or (link.node_id, link.output == 1) in seen:
            continue
        seen.add((link.node_id, link.output == 1))
        wired = graph.links(link.node_id)
        if graph.class_type(link.node_id) in _ZEROES:
            is_zeroed = True
        elif "positive" in wired and "negative" in wired:
            # A node with both (ControlNetApplyAdvanced and its kin) hands them on in this order.
            waiting.append(wired["negative" if link.output == 1 else "positive"])
        elif texts(graph, link.node_id, side):
            found.append(link.node_id)
        else:
            behind = [further for name, further in wired.items() if name not in _NOT_CONDITIONING]
            waiting += reversed(behind)
    return tuple(dict.fromkeys(found)), is_zeroed
