"""Which graph to run on a server: the template that fits it, one by name, a workflow saved there, or a pasted one."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from comfybridge import convert, library, preflight
from comfybridge.client import Client
from comfybridge.convert import Conversion
from comfybridge.deadline import Deadline
from comfybridge.errors import InvalidInput
from comfybridge.library import Named, Pasted, Source
from comfybridge.template import AUTO, Filled, Inputs, Template
from comfybridge.workflow import Definitions

_METADATA_LOOKS = 30
# The last choice of each client, with what it hung on: the state of its definitions the task and the model wanted.
_CHOICES: WeakKeyDictionary[Client, tuple[tuple[int, str, str | None], Template, str | None]] = WeakKeyDictionary()


class Lookup(Protocol):
    """Where node definitions come from: a server, or what one once answered."""

    def __call__(self, class_types: Iterable[str], *, refresh: bool = ...) -> Definitions: ...


def converted(saved: Any, lookup: Lookup, *, repair: bool = True) -> Conversion:
    """Convert a saved workflow; definitions that lack something are asked for once more.

    Raises:
        InvalidInput: it is no workflow, or one that cannot be converted.
    """
    wanted = convert.class_types(saved)
    definitions = lookup(sorted(wanted))
    if absent := wanted - definitions.keys():
        definitions = {**definitions, **lookup(sorted(absent), refresh=True)}
    conversion = convert.convert(saved, definitions, repair=repair)
    if old := preflight.outdated(conversion.prompt, definitions):
        # A model or a pack may have been installed since.
        conversion = convert.convert(saved, {**definitions, **lookup(sorted(old), refresh=True)}, repair=repair)
    return conversion


def choose(
    client: Client, source: Source, inputs: Inputs, deadline: Deadline, *, refresh: bool = False
) -> tuple[Template, Inputs, Definitions]:
    """Find the graph: the named one, or for ``auto`` the first template that this server has the models for.

    A name is looked up among the templates, then among the workflows that are saved on the server.

    Where no template's own models are there, a checkpoint that fits one of them is taken: by its metadata, then by its
    name. A model that the caller names decides which templates come into question.

    Raises:
        InvalidInput: nothing of that name, no workflow, or ``auto`` found no template that fits.
    """
    if isinstance(source, Pasted) or source.name != AUTO:
        chosen = _users(client, source, deadline) if isinstance(source, Pasted) else _named(client, source, deadline)
        return chosen, inputs, client.definitions(chosen.class_types(), deadline, refresh=refresh)
    templates = library.choices(source.task)
    fetched = client.definitions_fetched
    classes = frozenset().union(*(candidate.class_types() for candidate in templates))
    definitions = client.definitions(classes, deadline, refresh=refresh)
    key, template, model = _CHOICES.get(client, (None, None, None))
    if template is None or key != (fetched, source.task, inputs.model):
        template, model = _first_that_runs(client, templates, inputs.model, definitions, deadline)
        # With the state from before the definitions were asked for: were they fetched since, the next call looks again.
        _CHOICES[client] = ((fetched, source.task, inputs.model), template, model)
    return template, dataclasses.replace(inputs, model=model), definitions


def problems(filled: Filled, definitions: Definitions, *, has_key: bool) -> list[preflight.Problem]:
    """What keeps the graph from running, but for the files that are uploaded with it."""
    coming = {file.name for file in filled.files}
    return [
        problem
        for problem in preflight.check(filled.prompt, definitions, has_key=has_key)
        if problem.code not in preflight.INPUT_FILE
        or filled.prompt[problem.node_id]["inputs"][problem.input] not in coming
    ]


def _named(client: Client, source: Named, deadline: Deadline) -> Template:
    template = library.find(source.name, source.others)
    if template is not None:
        return template
    name = source.name.removesuffix(".json")
    saved = client.workflow(name, deadline)
    names: list[str] = []
    if saved is None:
        names = client.workflows(deadline)
        match = preflight.find_name(name, names)
        saved = client.workflow(match.name, deadline) if match.name is not None else None
        name = match.name or name
    if saved is None:
        known = [each.name for each in (*library.templates(), *source.others)]
        raise library.unknown(source.name, known, names)
    return _users(client, Pasted(saved, name), deadline)


def _users(client: Client, source: Pasted, deadline: Deadline) -> Template:
    conversion = converted(
        source.saved, lambda class_types, *, refresh=False: client.definitions(class_types, deadline, refresh=refresh)
    )
    warnings = tuple((problem.message_en, problem.message_zh) for problem in conversion.warnings)
    return Template(name=source.name, prompt=conversion.prompt, is_users=True, warnings=warnings)


def _first_that_runs(
    client: Client, templates: Sequence[Template], wanted: str | None, definitions: Definitions, deadline: Deadline
) -> tuple[Template, str | None]:
    """The template, and the model file that it shall load; ``None`` for its own."""
    for candidate in templates:
        if wanted is None and preflight.can_run(candidate.prompt, definitions):
            return candidate, None
    looks = 0
    for candidate in templates:
        names = candidate.model_names(definitions)
        if wanted is not None:
            match = preflight.find_name(wanted, names).name
            if any(match == required.file for required in candidate.requires):
                return candidate, wanted
            names = [match] if match is not None else []
        for model in names:
            looks += 1
            # Reading every file's metadata on a server with hundreds of models would take longer than the picture.
            has_look = looks <= _METADATA_LOOKS and candidate.fits is not None
            metadata = client.view_metadata(candidate.model_folder, model, deadline) if has_look else {}
            if candidate.can_run(model, metadata, definitions):
                return candidate, model
    raise _no_template(templates, wanted, definitions)


def _no_template(templates: Sequence[Template], model: str | None, definitions: Definitions) -> InvalidInput:
    if model is not None:
        names = sorted({name for candidate in templates for name in candidate.model_names(definitions)})
        english, chinese = preflight.not_found("the model", "模型", model, names)
        if preflight.find_name(model, names).name is not None:
            english = f"Which template fits the model '{model}' cannot be told from its metadata or its name."
            chinese = f"无法从元数据或文件名判断模型“{model}”适用的模板。"
        options = ", ".join(candidate.name for candidate in templates)
        return InvalidInput(
            f"{english[0].upper()}{english[1:]} Templates to choose from: {options}.", f"{chinese}可选模板：{options}。"
        )
    install_en, install_zh = templates[0].how_to_install()
    return InvalidInput(
        f"The server has no model that a template can run. {install_en}", f"服务器上没有可用的模型。{install_zh}"
    )
