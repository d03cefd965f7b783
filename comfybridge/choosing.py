"""Which graph to run on a server: the template that fits it, one by name, a workflow saved there, or a pasted one."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from comfybridge import convert, library, preflight, versioned
from comfybridge.client import Client
from comfybridge.convert import Conversion
from comfybridge.deadline import Deadline
from comfybridge.errors import InvalidInput
from comfybridge.filling import Filled, Inputs
from comfybridge.library import Named, Pasted
from comfybridge.template import AUTO, Template, listed, parse_ref
from comfybridge.workflow import Definitions

_METADATA_LOOKS = 30
# In bytes, less the extension.
_LONGEST_FILE_NAME = 250
# The last choice of each client, with what it hung on: the state of its definitions, the task, the model, the pictures.
_CHOICES: WeakKeyDictionary[Client, tuple[tuple[int, str, str | None, int], Template, str | None]] = WeakKeyDictionary()


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
    client: Client,
    source: Named | Pasted,
    inputs: Inputs,
    deadline: Deadline,
    *,
    refresh: bool = False,
    user: str = "",
) -> tuple[Template, Inputs, Definitions]:
    """Find the graph: the named one, or for ``auto`` the first template that this server has the models for.

    A name is looked up among the templates, then among the workflows that are saved on the server, which may keep
    other versions for other users.

    Where no template's own models are there, a checkpoint that fits one of them is taken: by its metadata, then by its
    name. A model that the caller names decides which templates come into question.

    Raises:
        InvalidInput: nothing of that name, no workflow, or ``auto`` found no template that fits.
    """
    if isinstance(source, Pasted) or source.name != AUTO:
        if isinstance(source, Pasted):
            chosen = _users(client, source, deadline)
        else:
            chosen = _named(client, source, deadline, user)
        return chosen, inputs, client.definitions(chosen.class_types(), deadline, refresh=refresh)
    fetched = client.definitions_fetched
    wanted = (source.task, inputs.model, sum(file.media.kind == "image" for file in inputs.files))
    choice = _CHOICES.get(client)
    if choice is None or choice[0] != (fetched, *wanted) or refresh:
        template, model = _first_that_runs(_Server(client, deadline, refresh), library.choices(source.task), inputs)
        # With the state from before the definitions were asked for: were they fetched since, the next call looks again.
        choice = ((fetched, *wanted), template, model)
        _CHOICES[client] = choice
    _, template, model = choice
    definitions = client.definitions(template.class_types(), deadline)
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


def _named(client: Client, source: Named, deadline: Deadline, user: str) -> Template:
    template = library.find(source.name, source.others)
    if template is not None:
        return template
    name = source.name.replace("\\", "/").strip("/").removesuffix(".json")
    saved = client.workflow(name, deadline, user=user) if _is_file_name(name) else None
    names: list[str] = []
    if saved is None:
        names = client.workflows(deadline)
        match = preflight.find_name(name, names)
        saved = client.workflow(match.name, deadline, user=user) if match.name is not None else None
        name = match.name or name
    several = [each for each in names if name.casefold() in each.casefold()]
    if saved is None and several:
        raise library.ambiguous(source.name, several)
    if saved is None:
        known = [each.name for each in (*library.templates(), *source.others)]
        raise library.unknown(source.name, known, names)
    mark = versioned.mark_of(saved)
    if mark is None or mark.name != name:
        return _users(client, Pasted(saved, name), deadline)
    template = _users(client, Pasted(versioned.unmarked(saved), mark.full_name), deadline)
    bindings = {role: refs for role, refs in mark.bindings.items() if _has(template, refs)}
    return dataclasses.replace(template, bindings=bindings)


def _has(template: Template, refs: str | Sequence[str]) -> bool:
    """Whether the graph, as it was converted, has these inputs."""
    found = map(parse_ref, listed(refs))
    return all(ref.input in template.prompt.get(ref.node_id, {}).get("inputs", {}) for ref in found)


def _is_file_name(name: str) -> bool:
    """Whether a server can have a file of this name; ComfyUI fails on those that it cannot have."""
    return name.isprintable() and all(len(part.encode()) <= _LONGEST_FILE_NAME for part in name.split("/"))


def _users(client: Client, source: Pasted, deadline: Deadline) -> Template:
    conversion = converted(
        source.saved, lambda class_types, *, refresh=False: client.definitions(class_types, deadline, refresh=refresh)
    )
    warnings = tuple((problem.message_en, problem.message_zh) for problem in conversion.warnings)
    return Template(name=source.name, prompt=conversion.prompt, is_users=True, warnings=warnings)


@dataclass(frozen=True, slots=True)
class _Server:
    """What is asked of a server while a template is chosen for it."""

    client: Client
    deadline: Deadline
    refresh: bool

    def definitions(self, template: Template) -> Definitions:
        return self.client.definitions(template.class_types(), self.deadline, refresh=self.refresh)

    def metadata(self, template: Template, model: str) -> Mapping[str, str]:
        return self.client.view_metadata(template.model_folder, model, self.deadline)


def _first_that_runs(server: _Server, templates: Sequence[Template], inputs: Inputs) -> tuple[Template, str | None]:
    """The template, and the model file that it shall load; ``None`` for its own."""
    # A template that does not take the files says best what it wants; so all are asked where none takes them.
    able = [each for each in templates if each.takes(inputs.files)] or list(templates)
    # One after the other: most servers have what the first needs, and each node class is a request.
    for candidate in able:
        if inputs.model is None and preflight.can_run(candidate.prompt, server.definitions(candidate)):
            return candidate, None
    looks = 0
    for candidate in able:
        definitions = server.definitions(candidate)
        names = candidate.model_names(definitions)
        if inputs.model is not None:
            match = preflight.find_name(inputs.model, names).name
            if any(match == required.file for required in candidate.requires):
                return candidate, inputs.model
            names = [match] if match is not None else []
        for model in names:
            looks += 1
            # Reading every file's metadata on a server with hundreds of models would take longer than the picture.
            has_look = looks <= _METADATA_LOOKS and candidate.fits is not None
            metadata = server.metadata(candidate, model) if has_look else {}
            if candidate.can_run(model, metadata, definitions):
                return candidate, model
    raise _no_template(able, inputs.model, {candidate.name: server.definitions(candidate) for candidate in able})


def _no_template(templates: Sequence[Template], model: str | None, served: Mapping[str, Definitions]) -> InvalidInput:
    if model is not None:
        names = sorted({name for candidate in templates for name in candidate.model_names(served[candidate.name])})
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
