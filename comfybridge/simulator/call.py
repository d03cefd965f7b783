"""One node about to be computed, and what it may do."""

from dataclasses import dataclass, field
from typing import Any

from comfybridge.declared import Definition
from comfybridge.simulator.files import Files


class NodeError(Exception):
    """A node fails: ComfyUI reports ``exception_type`` and ``message`` in ``execution_error``."""

    def __init__(self, message: str, exception_type: str = "RuntimeError") -> None:
        super().__init__(message)
        self.message = message
        self.exception_type = exception_type


def full_name(fault: BaseException) -> str:
    module = type(fault).__module__
    return type(fault).__qualname__ if module == "builtins" else f"{module}.{type(fault).__qualname__}"


@dataclass(frozen=True)
class Call:
    """A node with its links resolved to values.

    metadata: what goes into a saved picture, JSON text by key.
    temp_suffix: what PreviewImage adds to its names, new with every server start.
    """

    definition: Definition
    inputs: dict[str, Any]
    files: Files
    metadata: dict[str, str] = field(default_factory=dict)
    temp_suffix: str = ""

    @property
    def class_type(self) -> str:
        return self.definition.class_type

    def value(self, name: str) -> Any:
        """Return an input, or what ComfyUI's own definition defaults it to."""
        if name in self.inputs:
            return self.inputs[name]
        spec = self.definition.inputs.get(name)
        return None if spec is None else spec.settings.get("default")

    def text(self, name: str) -> str:
        value = self.value(name)
        return "" if value is None else str(value)

    def integer(self, name: str) -> int:
        return int(self.value(name) or 0)

    def number(self, name: str) -> float:
        return float(self.value(name) or 0.0)
