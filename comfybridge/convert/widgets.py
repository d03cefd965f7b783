"""A node's widgets: which inputs have one, in which order, and which saved value belongs to which."""

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

from comfybridge.convert.saved import mapping, sequence, slot_type
from comfybridge.convert.text import as_text

UNSET: Final = object()
"""The value of a widget that has none; nothing is sent for it."""

DYNAMIC_COMBO, AUTOGROW = "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3"

_WIDGET_TYPES = frozenset(
    (
        *("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "MARKDOWN", "IMAGEUPLOAD", DYNAMIC_COMBO),
        *("AUDIO_RECORD", "AUDIO_UI", "AUDIOUPLOAD", "LOAD_3D", "PREVIEW_3D", "WEBCAM"),
        *("BOUNDING_BOX", "CURVE", "TEXTAREA", "CHART", "GALLERIA", "IMAGECOMPARE"),
    )
)
_SEEDS = ("seed", "noise_seed")
_CONTROLS = ("fixed", "increment", "decrement", "randomize")
_UPLOADS = ("image_upload", "video_upload", "audio_upload")
_SAMPLERS = ("KSampler", "KSamplerAdvanced")
# What a widget of these types holds when the file says nothing.
_EMPTY: Mapping[str, Any] = {
    "INT": 0,
    "FLOAT": 0,
    "STRING": "",
    "BOOLEAN": False,
    "AUDIO_RECORD": "",
    "COLOR": "#000000",
}
_EXACT = 2**53


class Declared(NamedTuple):
    """An input as the server declares it; a list of options is a COMBO."""

    name: str
    type: str
    config: Mapping[str, Any]

    @property
    def forced(self) -> bool:
        return bool(self.config.get("forceInput"))


@dataclass(slots=True)
class Widget:
    """One widget of a live node. ``twin`` is the widget whose text box this one shares, if any."""

    declared: Declared
    held: Any = UNSET
    twin: "Widget | None" = None

    @property
    def value(self) -> Any:
        return self.twin.value if self.twin else self.held

    def set(self, value: Any) -> None:
        if self.twin:
            self.twin.set(value)
        else:
            self.held = held(self.declared, value)

    @property
    def is_text_box(self) -> bool:
        return self.declared.type == "STRING" and bool(self.declared.config.get("multiline"))


class _Slot(NamedTuple):
    """A place in ``widgets_values``; ``control`` places belong to the front end and are never sent."""

    declared: Declared
    control: bool = False


def declared_inputs(definition: Mapping[str, Any]) -> list[Declared]:
    """The server's inputs in the front end's order: as ``input_order`` says, then what it forgot."""
    groups, order = mapping(definition.get("input")), mapping(definition.get("input_order"))
    found: list[Declared] = []
    for group in ("required", "optional"):
        specs = mapping(groups.get(group))
        names = [name for name in sequence(order.get(group)) if name in specs]
        found += [_declared(name, specs[name]) for name in names]
        found += [_declared(name, specs[name]) for name in specs if name not in names]
    return found


def _declared(name: str, spec: Any) -> Declared:
    parts = spec if isinstance(spec, (list, tuple)) and spec else ["*"]
    config = mapping(parts[1]) if len(parts) > 1 else {}
    if isinstance(parts[0], list):
        config = {**config, "options": parts[0]}
    widget_type = config.get("widgetType")
    return Declared(name, widget_type if isinstance(widget_type, str) else slot_type(parts[0]), config)


def has_widget(declared: Declared, marked: Collection[str]) -> bool:
    """Whether the input is edited in the node; ``marked`` are the inputs that the file marks as widgets.

    A pack may bring a widget for a type of its own: there the file knows better than any list.
    """
    if declared.forced:
        return False
    return declared.type in _WIDGET_TYPES or (declared.name in marked and not declared.type.startswith("COMFY_"))


def make_widgets(
    class_type: str, inputs: Sequence[Declared], marked: Collection[str], values: Any, *, repair: bool
) -> tuple[dict[str, Widget], bool]:
    """The node's widgets with the saved values in them, and whether these had to be put right."""
    with_widget = [declared for declared in inputs if has_widget(declared, marked)]
    if isinstance(values, Mapping):
        # The video helpers save so, and their own script reads it; ComfyUI itself sends nothing then.
        is_custom = class_type.startswith("VHS_")
        return (_by_name(with_widget, values), not is_custom) if repair or is_custom else ({}, False)
    given = list(sequence(values))
    slots = list(_slots(with_widget, inputs))
    given = _without_forced(inputs, marked, slots, given)
    placed = _place(slots, given)
    repaired = False
    if repair and not _is_plausible(placed):
        better = _realigned(slots, given)
        placed, repaired = (better, True) if better is not None else (placed, False)
    widgets: dict[str, Widget] = {}
    for slot, value in placed:
        if not slot.control:
            widget = Widget(slot.declared)
            widget.set(_migrated(class_type, slot.declared, value))
            widgets.setdefault(slot.declared.name, widget)
    return widgets, repaired


def _slots(with_widget: Sequence[Declared], inputs: Sequence[Declared]) -> Iterator[_Slot]:
    for declared in with_widget:
        yield from _slots_of(declared)
    for declared in inputs:
        if any(declared.config.get(upload) for upload in _UPLOADS):
            yield _Slot(Declared("upload", "IMAGEUPLOAD", {}), control=True)


def _slots_of(declared: Declared) -> Iterator[_Slot]:
    yield _Slot(declared)
    control = declared.config.get("control_after_generate")
    if control is None:
        control = declared.type == "INT" and declared.name in _SEEDS
    if control and declared.type in ("INT", "FLOAT", "COMBO"):
        for _ in range(2 if declared.type == "COMBO" else 1):
            yield _Slot(Declared("control_after_generate", "COMBO", {}), control=True)


def places(declared: Declared) -> int:
    """How many values a widget takes of ``widgets_values``."""
    return sum(1 for _ in _slots_of(declared))


def dynamic_inputs(declared: Declared, value: Any) -> list[Declared]:
    """The inputs that the chosen option of a dynamic combo brings, under dotted names."""
    for option in sequence(declared.config.get("options")):
        if mapping(option).get("key") == value:
            inputs = declared_inputs({"input": mapping(option).get("inputs")})
            return [Declared(f"{declared.name}.{each.name}", each.type, each.config) for each in inputs]
    return []


def _place(slots: Sequence[_Slot], values: Sequence[Any]) -> list[tuple[_Slot, Any]]:
    """Give every slot the value at its place; a chosen dynamic option inserts its own slots behind it."""
    placed: list[tuple[_Slot, Any]] = []
    waiting = deque(slots)
    at = 0
    while waiting:
        slot = waiting.popleft()
        value = values[at] if at < len(values) else default(slot.declared)
        at += 1
        placed.append((slot, value))
        if slot.declared.type == DYNAMIC_COMBO:
            inner = [each for each in dynamic_inputs(slot.declared, value) if has_widget(each, ())]
            waiting.extendleft(reversed([added for each in inner for added in _slots_of(each)]))
    return placed


def default(declared: Declared) -> Any:
    """What a fresh widget holds."""
    if "default" in declared.config:
        return declared.config["default"]
    options = sequence(declared.config.get("options"))
    if declared.type == "COMBO":
        return options[0] if options else UNSET
    if declared.type == DYNAMIC_COMBO:
        return mapping(options[0]).get("key", UNSET) if options else UNSET
    return _EMPTY.get(declared.type, UNSET)


def held(declared: Declared, value: Any) -> Any:
    """The value as the widget hands it out again: a text box holds text with LF."""
    if declared.type == "STRING" and declared.config.get("multiline") and not isinstance(value, (list, Mapping)):
        return value if value is UNSET else as_text(value).replace("\r\n", "\n").replace("\r", "\n")
    return value


def as_double(value: Any) -> Any:
    """An integer as JavaScript reads and prints it: beyond 2**53 with the digits of a double."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) <= _EXACT:
        return value
    try:
        return int(Decimal(repr(float(value))))
    except OverflowError:
        return value


def _by_name(with_widget: Sequence[Declared], values: Mapping[str, Any]) -> dict[str, Widget]:
    widgets: dict[str, Widget] = {}
    waiting = deque(with_widget)
    while waiting:
        declared = waiting.popleft()
        widgets[declared.name] = Widget(declared)
        value = values.get(declared.name, default(declared))
        widgets[declared.name].set(value)
        if declared.type == DYNAMIC_COMBO:
            inner = [each for each in dynamic_inputs(declared, value) if has_widget(each, ())]
            waiting.extendleft(reversed(inner))
    return widgets


def _without_forced(
    inputs: Sequence[Declared], marked: Collection[str], slots: Sequence[_Slot], values: list[Any]
) -> list[Any]:
    """Take out the values that old front ends saved for inputs that never were widgets."""
    uploads = sum(slot.declared.name == "upload" for slot in slots)
    forced: list[bool] = []
    for declared in inputs:
        if declared.forced:
            forced.append(True)
        elif has_widget(declared, marked):
            forced += [False for _ in _slots_of(declared)]
    forced += [False] * uploads
    if len(forced) != len(values):
        return values
    return [value for value, is_forced in zip(values, forced, strict=True) if not is_forced]


def _realigned(slots: Sequence[_Slot], values: Sequence[Any]) -> list[tuple[_Slot, Any]] | None:
    """Put values right that a control slot too few or too many has shifted; ``None`` where that is not certain."""
    fitted: list[Any] = []
    at = 0
    for slot in slots:
        if slot.declared.type == DYNAMIC_COMBO:
            return None
        if at >= len(values):
            break
        value = values[at]
        if slot.control and slot.declared.name != "upload" and not _is_control(value):
            fitted.append("fixed")
            continue
        if not slot.control and _is_control(value) and isinstance(value, str) and slot.declared.type != "STRING":
            options = sequence(slot.declared.config.get("options"))
            if value not in options and at + 1 < len(values):
                at += 1
                value = values[at]
        fitted.append(value)
        at += 1
    placed = _place(slots, fitted)
    return placed if at >= len(values) and _is_plausible(placed) else None


def _is_control(value: Any) -> bool:
    return isinstance(value, bool) or value in _CONTROLS


def _is_plausible(placed: Sequence[tuple[_Slot, Any]]) -> bool:
    return all(_fits(slot, value) for slot, value in placed)


def _fits(slot: _Slot, value: Any) -> bool:
    if slot.control:
        return slot.declared.name == "upload" or value is None or _is_control(value) or value == ""
    return value is None or fits(slot.declared, value)


def fits(declared: Declared, value: Any) -> bool:
    """Whether the value is of the widget's kind; numbers may be written as text, as ComfyUI reads those."""
    if value is UNSET:
        return True
    match declared.type:
        case "INT" | "FLOAT":
            number = isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d+(\.\d*)?([eE][-+]?\d+)?\s*", value)
            return bool(number) or (isinstance(value, (int, float)) and not isinstance(value, bool))
        case "COMBO":
            options = sequence(declared.config.get("options"))
            kinds = {type(option) for option in options} or {str}
            return type(value) in kinds or isinstance(value, (list, dict))
        case "STRING":
            return isinstance(value, str)
        case "BOOLEAN":
            return isinstance(value, (bool, int)) or value in ("true", "false", "enable", "disable")
        case _:
            return True


def _migrated(class_type: str, declared: Declared, value: Any) -> Any:
    if class_type in _SAMPLERS and declared.name == "sampler_name" and isinstance(value, str):
        return value.removeprefix("sample_")
    return value
