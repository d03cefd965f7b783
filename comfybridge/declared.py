"""How a node class declares its inputs, as ``GET /object_info`` tells it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

AUTOGROW, DYNAMIC_COMBO = "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3"


@dataclass(frozen=True)
class Input:
    """One input of a class: ``kind`` is a type name, or the list of a combo in the old format."""

    kind: str | list[Any]
    settings: dict[str, Any]
    is_required: bool

    @property
    def config(self) -> list[Any]:
        return [self.kind, self.settings]

    @property
    def options(self) -> list[Any] | None:
        """The values of a combo; ``None`` for everything else."""
        if isinstance(self.kind, list):
            return self.kind
        return list(self.settings.get("options", [])) if self.kind == "COMBO" else None

    @property
    def is_lazy(self) -> bool:
        return bool(self.settings.get("lazy"))


@dataclass(frozen=True)
class Definition:
    class_type: str
    inputs: dict[str, Input]
    # A tuple for old-style classes and a list for new ones: ComfyUI's error for a missing slot names the one or other.
    outputs: Sequence[str]
    output_names: Sequence[str]
    is_output: bool

    @property
    def is_new_style(self) -> bool:
        return isinstance(self.outputs, list)

    def expanded(self, given: Mapping[str, Any]) -> "Definition":
        """Put real inputs in the place of those that grow with what is connected or chosen."""
        if not any(spec.kind in (AUTOGROW, DYNAMIC_COMBO) for spec in self.inputs.values()):
            return self
        return replace(self, inputs=dict(_expanded(self.inputs.items(), given)))


class Declared(Protocol):
    """The classes that a server has, by name."""

    def __contains__(self, class_type: object, /) -> bool: ...

    def get(self, class_type: str, /) -> Definition:
        """Raises KeyError, or returns the definition."""
        ...


def _expanded(inputs: Iterable[tuple[str, Input]], given: Mapping[str, Any]) -> Iterator[tuple[str, Input]]:
    """Do as ComfyUI does when it meets a graph (comfy_api/latest/_io.py, parse_class_inputs)."""
    for name, spec in inputs:
        if spec.kind == AUTOGROW:
            template = spec.settings["template"]
            kind, settings = next(config for inner in template["input"].values() for config in inner.values())
            for number in range(template["max"]):
                if (grown := f"{name}.{template['prefix']}{number}") in given:
                    yield grown, Input(kind, settings, is_required=number < template["min"])
        elif spec.kind == DYNAMIC_COMBO:
            chosen = [option for option in spec.settings["options"] if option["key"] == given.get(name)]
            for option in chosen[:1]:
                inner = ((f"{name}.{own}", found) for own, found in _specs(option["inputs"]))
                yield from _expanded(inner, given)
                yield name, spec
        else:
            yield name, spec


def _specs(inputs: Mapping[str, Mapping[str, list[Any]]]) -> Iterator[tuple[str, Input]]:
    for category in ("required", "optional"):
        for name, spec in inputs.get(category, {}).items():
            yield name, Input(spec[0], spec[1] if len(spec) > 1 else {}, is_required=category == "required")


def parse(class_type: str, info: dict[str, Any]) -> Definition:
    is_new_style = "output_matchtypes" in info
    outputs = info["output"] if is_new_style else tuple(info["output"])
    return Definition(class_type, dict(_specs(info["input"])), outputs, info["output_name"], bool(info["output_node"]))
