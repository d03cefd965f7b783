"""What ``POST /prompt`` checks before it queues a graph (execution.py, validate_prompt and validate_inputs). Pure.

Values are coerced in place, as ComfyUI does: history and metadata show the coerced ones.
"""

import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard

from comfybridge.declared import Declared, Definition, Input

MAX_LISTED_OPTIONS = 20
ANY_TYPES = ("*", "COMFY_MATCHTYPE_V3")
FILE_CHECKED = {
    "LoadImage": ("image", "image"),
    "LoadImageMask": ("image", "image"),
    "LoadImageOutput": ("image", "image"),
    "LoadAudio": ("audio", "audio"),
    "LoadVideo": ("file", "video"),
}
"""Classes that check this input, a file of this kind, themselves (VALIDATE_INPUTS), instead of against the options."""
SELF_CHECKED = {("CustomCombo", "choice"), *((class_type, name) for class_type, (name, _) in FILE_CHECKED.items())}
COERCE = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
NODE_FAULTS = (KeyError, IndexError, TypeError, AttributeError, ValueError)
"""What a malformed node makes a check raise; ComfyUI reports the exception instead of a proper error."""

Error = dict[str, Any]
Prompt: TypeAlias = dict[str, Any]
"""A graph in API format, as it came in over the wire."""


@dataclass
class Verdict:
    """``outputs`` are the output nodes that may run; with none of them ``error`` says why."""

    outputs: list[str] = field(default_factory=list)
    error: Error | None = None
    node_errors: dict[str, Error] = field(default_factory=dict)


def validate(
    prompt: Prompt, targets: Collection[str] | None, definitions: Declared, has_file: Callable[[str], bool]
) -> Verdict:
    """Check a graph. ``targets``: the output nodes wanted; ``None`` for all.

    Raises:
        TypeError: something is not even a graph; ComfyUI answers 500.
    """
    outputs = []
    for node_id in prompt:
        node = prompt[node_id]
        if "class_type" not in node:
            return Verdict(error=_invalid(node_id, "Cannot execute because a node is missing the class_type property."))
        class_type = node["class_type"]
        if class_type not in definitions:
            return Verdict(error=_invalid(node_id, f"Cannot execute because node {class_type} does not exist."))
        if definitions.get(class_type).is_output and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs", "", {}))
    return _Check(prompt, definitions, has_file).run(outputs)


@dataclass
class _Check:
    prompt: Prompt
    definitions: Declared
    has_file: Callable[[str], bool]
    # None while a node is being checked: meeting it again means a cycle.
    results: dict[str, tuple[bool, list[Error]] | None] = field(default_factory=dict)

    def run(self, outputs: list[str]) -> Verdict:
        verdict = Verdict()
        details = []
        for output in outputs:
            if self._output(output):
                verdict.outputs.append(output)
                continue
            details += [f"{error['message']}: {error['details']}" for error in self._errors(output)]
            for node_id in self.results:
                if errors := self._errors(node_id):
                    entry = verdict.node_errors.setdefault(
                        node_id,
                        {
                            "errors": errors,
                            "dependent_outputs": [],
                            "class_type": self.prompt[node_id]["class_type"],
                        },
                    )
                    entry["dependent_outputs"].append(output)
        if not verdict.outputs:
            verdict.error = _error(
                "prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(details), {}
            )
        return verdict

    def _errors(self, node_id: str) -> list[Error]:
        result = self.results[node_id]
        return result[1] if result else []

    def _output(self, node_id: str) -> bool:
        try:
            return self._node(node_id)
        except NODE_FAULTS as fault:
            self.results[node_id] = (
                False,
                [
                    _error(
                        "exception_during_validation",
                        "Exception when validating node",
                        str(fault),
                        {
                            "exception_type": type(fault).__name__,
                            "traceback": traceback.format_tb(fault.__traceback__),
                        },
                    )
                ],
            )
            return False

    def _node(self, node_id: str) -> bool:
        if node_id in self.results:
            result = self.results[node_id]
            return result is not None and result[0]
        node = self.prompt[node_id]
        inputs = node["inputs"]
        definition = self.definitions.get(node["class_type"]).expanded(inputs)
        self.results[node_id] = None
        try:
            errors, is_valid = self._inputs(inputs, definition)
        finally:
            # An exception leaves no result: whoever linked here files it under this node.
            del self.results[node_id]
        self.results[node_id] = (is_valid and not errors, errors)
        return is_valid and not errors

    def _inputs(self, inputs: dict[str, Any], definition: Definition) -> tuple[list[Error], bool]:
        errors: list[Error] = []
        is_valid = True
        for name, spec in definition.inputs.items():
            if name not in inputs:
                if spec.is_required:
                    errors.append(
                        _error(
                            "required_input_missing",
                            "Required input is missing",
                            name.rpartition(".")[2],
                            {"input_name": name},
                        )
                    )
            elif isinstance(inputs[name], list):
                error, upstream_is_valid = self._link(name, spec, inputs[name])
                errors += [error] if error else []
                is_valid = is_valid and upstream_is_valid
            elif error := _value(inputs, name, spec, checks_itself=(definition.class_type, name) in SELF_CHECKED):
                errors.append(error)
        if own := FILE_CHECKED.get(definition.class_type):
            errors += self._file(definition, *own, inputs)
        return errors, is_valid

    def _file(self, definition: Definition, name: str, kind: str, inputs: dict[str, Any]) -> list[Error]:
        """Do as a class's own VALIDATE_INPUTS does, which fails without a plain text to look at."""
        if name not in inputs:
            check = "validate_inputs" if definition.is_new_style else "VALIDATE_INPUTS"
            raise TypeError(f"{definition.class_type}.{check}() missing 1 required positional argument: '{name}'")
        value = None if is_link(inputs[name]) else inputs[name]
        if not isinstance(value, str):
            message = f"'{type(value).__name__}' object has no attribute 'endswith'"
            raise AttributeError(message)  # noqa: TRY004  (what folder_paths.annotated_filepath raises)
        if self.has_file(value):
            return []
        details = f"{name} - Invalid {kind} file: {value}"
        message = "Custom validation failed for node"
        return [_error("custom_validation_failed", message, details, {"input_name": name})]

    def _link(self, name: str, spec: Input, link: list[Any]) -> tuple[Error | None, bool]:
        """Check a link and the node behind it. The flag is false when that node is invalid."""
        if len(link) != 2:  # noqa: PLR2004
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return _error("bad_linked_input", message, name, _extra(name, spec, received_value=link)), True
        source, slot = link
        received = self.definitions.get(self.prompt[source]["class_type"]).outputs[slot]
        if not _fits(received, spec.kind):
            details = f"{name}, received_type({received}) mismatch input_type({spec.kind})"
            extra = _extra(name, spec, received_type=received, linked_node=link)
            return _error("return_type_mismatch", "Return type mismatch between linked nodes", details, extra), True
        try:
            return None, self._node(source)
        except NODE_FAULTS as fault:
            extra = _extra(
                name,
                spec,
                exception_message=str(fault),
                exception_type=type(fault).__name__,
                traceback=traceback.format_tb(fault.__traceback__),
                linked_node=link,
            )
            message = "Exception when validating inner node"
            self.results[source] = (
                False,
                [_error("exception_during_inner_validation", message, str(fault), extra)],
            )
            return None, False


def is_link(value: object) -> TypeGuard[list[Any]]:
    # ComfyUI takes a float as slot number, too.
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)  # noqa: PLR2004
    )


def _value(inputs: dict[str, Any], name: str, spec: Input, *, checks_itself: bool) -> Error | None:
    value = inputs[name]
    if isinstance(value, dict) and "__value__" in value:
        value = inputs[name] = value["__value__"]
    if isinstance(spec.kind, str) and spec.kind in COERCE:
        try:
            value = inputs[name] = COERCE[spec.kind](value)
        except (TypeError, ValueError, OverflowError) as fault:
            extra = _extra(name, spec, received_value=value, exception_message=str(fault))
            message = f"Failed to convert an input value to a {spec.kind} value"
            return _error("invalid_input_type", message, f"{name}, {value}, {fault}", extra)
    if checks_itself:
        return None
    extra = _extra(name, spec, received_value=value)
    if "min" in spec.settings and value < spec.settings["min"]:
        message = f"Value {value} smaller than min of {spec.settings['min']}"
        return _error("value_smaller_than_min", message, name, extra)
    if "max" in spec.settings and value > spec.settings["max"]:
        message = f"Value {value} bigger than max of {spec.settings['max']}"
        return _error("value_bigger_than_max", message, name, extra)
    options = spec.options
    if options is None or value in options:
        return None
    listed = str(options)
    if len(options) > MAX_LISTED_OPTIONS:
        listed = f"(list of length {len(options)})"
        extra["input_config"] = None
    return _error("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {listed}", extra)


def _fits(received: str, wanted: str | list[Any]) -> bool:
    """Tell whether a link's type fits (comfy_execution/validation.py): one type in common, or a wildcard."""
    if received == wanted or received in ANY_TYPES or wanted in ANY_TYPES:
        return True
    if not isinstance(wanted, str):
        return False
    given = {part.strip() for part in received.split(",")}
    taken = {part.strip() for part in wanted.split(",")}
    return bool(given & taken) or "*" in given | taken


def _extra(name: str, spec: Input, **more: object) -> dict[str, Any]:
    return {"input_name": name, "input_config": spec.config, **more}


def _invalid(node_id: str, message: str) -> Error:
    return _error("invalid_prompt", message, f"Node ID '#{node_id}'", {})


def _error(kind: str, message: str, details: str, extra: dict[str, Any]) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
