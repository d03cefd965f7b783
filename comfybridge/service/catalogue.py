"""What servers have, as values: ``/object_info`` of one and of many, and what a graph needs of it. Pure."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from comfybridge.declared import Definition, Input, parse
from comfybridge.graph import Graph, InputRef, Prompt, input_spec, spec_options
from comfybridge.nearest import MODEL_FILE

Classes = Mapping[str, Mapping[str, Any]]
Needs = dict[str, list[Any]]

_LISTED = {
    "image_upload": ("image",),
    "animated_image_upload": ("image",),
    "audio_upload": ("audio", "video"),
    "video_upload": ("video",),
}
"""The kinds of uploaded files that ComfyUI lists for an input that takes one; all of them for any other flag."""


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def without_uploads(classes: Classes, present: Collection[str]) -> dict[str, dict[str, Any]]:
    """The classes without the names of the files in the server's input folder: those are the callers', not its own.

    Which inputs list that folder is told of some; others offer nothing but what is ``present`` there.
    """
    marked = {class_type: _marked(info, present) for class_type, info in classes.items()}
    return {class_type: _listing(info, lambda _: []) for class_type, info in marked.items()}


def with_uploads(info: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """One class as a caller sees it, whose uploaded files are given by kind (``image``, ``video``, ``audio``, …)."""

    def listed(flag: str) -> list[str]:
        kinds = _LISTED.get(flag, tuple(names))
        return sorted({name for kind in kinds for name in names.get(kind, ())})

    return _listing(info, listed)


def upload_inputs(prompt: Prompt, classes: Classes) -> dict[InputRef, str]:
    """The inputs of a graph that name a file of the caller's, and the names."""
    return {
        ref: value
        for ref, class_type, value in _texts(prompt)
        if _flag(input_spec(classes.get(class_type, {}), ref.input))
    }


def possible_files(prompt: Prompt, classes: Classes) -> Iterator[tuple[InputRef, str, str]]:
    """The inputs whose text may name a file of the caller's, which nothing declares, by the key within their value.

    Lists that offer another value, as LoadLatent's where no server has a latent of its own, and what widgets upload as
    they go: a webcam's picture, a recording, the views of a 3D scene.
    """
    graph = Graph(prompt, {})
    for node_id in prompt:
        info = classes.get(graph.class_type(node_id), {})
        for name, value in graph.inputs(node_id).items():
            spec = input_spec(info, name)
            if not spec or _flag(spec) or spec[0] == "STRING":
                continue
            if isinstance(value, str):
                if value not in _options(spec) if _is_list(spec) else "." in value:
                    yield InputRef(node_id, name), "", value
            elif isinstance(value, dict):
                for key, text in value.items():
                    if isinstance(text, str) and "." in text:
                        yield InputRef(node_id, name), key, text


def united(catalogues: Iterable[Classes]) -> dict[str, dict[str, Any]]:
    """The classes of several servers; where one class lists other model files on each, all of them."""
    union: dict[str, dict[str, Any]] = {}
    for classes in catalogues:
        for class_type, info in classes.items():
            known = union.get(class_type)
            union[class_type] = dict(info) if known is None else _merged(known, info)
    return union


def needs(prompt: Prompt, classes: Classes) -> Needs:
    """The classes and the model files without which a server cannot run the graph."""
    models = {
        (class_type, ref.input, value)
        for ref, class_type, value in _texts(prompt)
        if MODEL_FILE.search(value) and value in options(classes, class_type, ref.input)
    }
    class_types = {str(node.get("class_type")) for node in prompt.values() if isinstance(node, dict)}
    return {"classes": sorted(class_types), "models": sorted(map(list, models))}


def _texts(prompt: Prompt) -> Iterator[tuple[InputRef, str, str]]:
    """The inputs that are texts, with their class, of whatever came over the wire."""
    graph = Graph(prompt, {})
    for node_id in prompt:
        for name, value in graph.inputs(node_id).items():
            if isinstance(value, str):
                yield InputRef(node_id, name), graph.class_type(node_id), value


def offers(classes: Classes, wanted: Needs) -> bool:
    """Whether a server with these classes has what a graph needs."""
    return all(class_type in classes for class_type in wanted["classes"]) and all(
        value in options(classes, class_type, name) for class_type, name, value in wanted["models"]
    )


def options(classes: Classes, class_type: str, name: str) -> list[Any]:
    """The values of a combo, in either encoding; empty for everything else."""
    return _options(input_spec(classes.get(class_type, {}), name))


def _options(spec: list[Any]) -> list[Any]:
    if spec and isinstance(spec[0], list):
        return spec[0]
    listed = spec_options(spec).get("options") if spec and spec[0] == "COMBO" else None
    return listed if isinstance(listed, list) else []


def _is_list(spec: list[Any]) -> bool:
    return isinstance(spec[0], list) or spec[0] == "COMBO"


class Catalogue:
    """The classes of the fleet as ``validation`` asks for them, for one caller.

    A class of a custom node pack may check its values itself, which ``/object_info`` does not tell: of these only what
    is required is asked for here, the server that runs the graph has the last word.
    """

    def __init__(
        self, classes: Classes, uploads: Mapping[str, list[str]], extra: Iterable[tuple[str, str, str]] = ()
    ) -> None:
        """``extra``: class, input and value of files that no server lists."""
        self._classes = classes
        self._uploads = uploads
        self._extra = set(extra)
        self._parsed: dict[str, Definition] = {}

    def __contains__(self, class_type: object) -> bool:
        return isinstance(class_type, str) and class_type in self._classes

    def get(self, class_type: str) -> Definition:
        if class_type not in self._parsed:
            info = self._classes[class_type]
            found = parse(class_type, self._extended(class_type, with_uploads(info, self._uploads)))
            self._parsed[class_type] = _lenient(found) if _is_custom(info) else found
        return self._parsed[class_type]

    def _extended(self, class_type: str, info: dict[str, Any]) -> dict[str, Any]:
        values = {name: value for of, name, value in self._extra if of == class_type}
        return _changed(
            info, lambda name, spec: _relisted(spec, [*_options(spec), values[name]]) if name in values else spec
        )


def _is_custom(info: Mapping[str, Any]) -> bool:
    return str(info.get("python_module", "")).startswith("custom_nodes.")


def _lenient(found: Definition) -> Definition:
    inputs = {name: Input("*", {}, is_required=spec.is_required) for name, spec in found.inputs.items()}
    return Definition(found.class_type, inputs, found.outputs, found.output_names, found.is_output)


def _flag(spec: list[Any]) -> str:
    """What says that an input takes a file of a folder; empty when nothing does."""
    settings = spec_options(spec)
    return next((key for key, value in settings.items() if value and key.endswith(("_upload", "image_folder"))), "")


def _marked(info: Mapping[str, Any], present: Collection[str]) -> dict[str, Any]:
    """The class with the folder named for inputs that offer its files, and nothing else, without saying so."""

    def marked(_: str, spec: list[Any]) -> list[Any]:
        listed = _options(spec)
        if _flag(spec) or not listed or not all(isinstance(value, str) and value in present for value in listed):
            return spec
        return [spec[0], {**spec_options(spec), "image_folder": "input"}]

    return _changed(info, marked)


def _listing(info: Mapping[str, Any], listed: Callable[[str], list[str]]) -> dict[str, Any]:
    """The class with other options where it takes uploads."""
    return _changed(info, lambda _, spec: _relisted(spec, listed(flag)) if (flag := _flag(spec)) else spec)


def _changed(info: Mapping[str, Any], change: Callable[[str, list[Any]], list[Any]]) -> dict[str, Any]:
    """The class with other declarations of its inputs; the same object where none is another."""
    groups: dict[str, Any] = info.get("input") or {}
    changed = {
        group: {name: change(name, spec) if isinstance(spec, list) and spec else spec for name, spec in of.items()}
        for group, of in groups.items()
        if isinstance(of, dict)
    }
    new = {group: of for group, of in changed.items() if of != groups[group]}
    return {**info, "input": {**groups, **new}} if new else dict(info)


def _relisted(spec: list[Any], names: list[str]) -> list[Any]:
    if isinstance(spec[0], list):
        return [names, *spec[1:]]
    # One without options asks elsewhere for them, by its route.
    is_listed = spec[0] == "COMBO" and "options" in spec_options(spec)
    return [spec[0], {**spec_options(spec), "options": names}] if is_listed else spec


def _merged(known: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    groups: dict[str, Any] = known.get("input") or {}
    merged = {
        group: {name: _united(spec, input_spec(other, name)) for name, spec in of.items()}
        for group, of in groups.items()
        if isinstance(of, dict)
    }
    return {**known, "input": {**groups, **merged}}


def _united(spec: list[Any], other: list[Any]) -> list[Any]:
    if not spec or not other:
        return spec
    if isinstance(spec[0], list) and isinstance(other[0], list):
        return [[*spec[0], *(name for name in other[0] if name not in spec[0])], *spec[1:]]
    mine, theirs = spec_options(spec).get("options"), spec_options(other).get("options")
    if spec[0] == other[0] == "COMBO" and isinstance(mine, list) and isinstance(theirs, list):
        return [spec[0], {**spec_options(spec), "options": [*mine, *(name for name in theirs if name not in mine)]}]
    return spec
