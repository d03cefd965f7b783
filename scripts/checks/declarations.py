"""The provider's and the tools' YAML against Dify's rules.

The daemon's are the struct tags of its ToolProviderDeclaration, ProviderConfig and ToolDeclaration, which the packager
does not look at: what they refuse shows at installation only.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.checks import CALL, INSTALLATION, PROJECT, START
from scripts.checks.manifest import TAGS, i18n_problems

#: libyaml's where it is installed: ten times as quick.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]+")
_PARAMETER_TYPES = frozenset((
    "string", "number", "boolean", "select", "secret-input", "file", "files", "app-selector", "model-selector", "any",
    "dynamic-select", "array", "object", "checkbox", "date", "date-range",
))  # fmt: skip
_CREDENTIAL_TYPES = frozenset((
    "secret-input", "text-input", "select", "boolean", "model-selector", "app-selector", "array[tools]",
))  # fmt: skip
_SELECTORS = ("model-selector", "app-selector")
_MODEL_CALL = re.compile(r"\bsession\.model\.(\w+)\.invoke\b")
_FORMS = ("llm", "form", "schema")
#: What the daemon's structs hold; another key does not survive installation.
_PARAMETER_KEYS = frozenset((
    "name", "label", "human_description", "type", "form", "llm_description", "required", "default", "min", "max",
    "precision", "options", "scope", "auto_generate", "template", "multiple", "show_on",
))  # fmt: skip
_SCOPES = {
    "app-selector": ("all", "chat", "workflow", "completion"),
    "model-selector": (
        "llm", "text-embedding", "rerank", "tts", "speech2text", "moderation", "vision", "document", "tool-call",
    ),
    "any": (
        "string", "number", "object", "array[number]", "array[string]", "array[object]", "array[file]",
    ),
}  # fmt: skip
#: Types that a strict model API takes when an agent's model is told them; files are left out of what it is told.
_TOLD_TO_MODELS = ("string", "number", "boolean", "select", "file", "files")
_JSON_TYPES = ("string", "number", "integer", "boolean", "object", "array")
#: Output names that would take the place of the Tool node's own.
_RESERVED_OUTPUTS = ("text", "files", "json")
_LONGEST_OPTION = 127
_MOST_CREDENTIALS = 64


def load(plugin: Path, name: str) -> Mapping[str, Any]:
    """One YAML file; empty where there is none or it holds something else, which other checks report."""
    path = plugin / name
    found = yaml.load(path.read_text(encoding="utf-8"), _LOADER) if path.is_file() else None  # noqa: S506 (a safe one)
    return found if isinstance(found, dict) else {}


def problems(plugin: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the providers that the manifest names, and with their tools."""
    for name in (manifest.get("plugins") or {}).get("tools") or []:
        provider = load(plugin, name)
        yield from _provider_problems(plugin, name, provider, manifest)
        tools = {path: load(plugin, path) for path in provider.get("tools") or []}
        if not tools:
            yield f"{name}: tools names no tool {INSTALLATION}"
        known: dict[str, str] = {}
        for path, tool in tools.items():
            yield from _tool_problems(plugin, path, tool, manifest)
            called = str((tool.get("identity") or {}).get("name"))
            if called in known:
                yield f"{path}: the name {called!r} is that of {known[called]} too {CALL}"
            known[called] = path


def model_calls(plugin: Path, names: Iterable[str]) -> dict[str, str]:
    """The kinds of Dify's models that the sources ask, each with the first file that does."""
    found: dict[str, str] = {}
    for name in names:
        if name.endswith(".py"):
            for kind in _MODEL_CALL.findall((plugin / name).read_text(encoding="utf-8")):
                found.setdefault(kind, name)
    return found


def _provider_problems(
    plugin: Path, name: str, provider: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Iterator[str]:
    identity = provider.get("identity") or {}
    yield from _identity_problems(name, identity, manifest)
    yield from i18n_problems(f"{name}: description", identity.get("description"))
    for key in ("icon", "icon_dark"):
        if key in identity and not (plugin / "_assets" / str(identity[key])).is_file():
            yield f"{name}: {key} {identity[key]!r} is no file of _assets/ {INSTALLATION}"
    if "icon" not in identity:
        yield f"{name}: identity lacks an icon {INSTALLATION}"
    for tag in identity.get("tags") or []:
        if tag not in TAGS:
            yield f"{name}: {tag!r} is none of Dify's tags {INSTALLATION}"
    fields = provider.get("credentials_for_provider") or {}
    if len(fields) > _MOST_CREDENTIALS:
        yield f"{name}: {len(fields)} credentials, Dify takes {_MOST_CREDENTIALS} {INSTALLATION}"
    for field, facts in fields.items():
        yield from _credential_problems(f"{name}: {field}", facts)
    yield from _source_problems(plugin, name, provider, "ToolProvider")


def _credential_problems(where: str, field: Mapping[str, Any]) -> Iterator[str]:
    if field.get("type") not in _CREDENTIAL_TYPES:
        yield f"{where}: type is {field.get('type')!r}, it must be one of {_one_of(_CREDENTIAL_TYPES)} {INSTALLATION}"
    for key in ("label", *(key for key in ("help", "placeholder") if key in field)):
        yield from i18n_problems(f"{where}: {key}", field.get(key))
    if "scope" in field and field.get("type") not in _SCOPES:
        yield f"{where}: scope is for selectors alone {INSTALLATION}"
    if not isinstance(field.get("default", ""), (str, int, float, bool)):
        yield f"{where}: default must be a single value {INSTALLATION}"
    yield from _option_problems(where, field)


def _tool_problems(plugin: Path, path: str, tool: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from _identity_problems(path, tool.get("identity") or {}, manifest)
    description = tool.get("description") or {}
    yield from i18n_problems(f"{path}: description.human", description.get("human"))
    if not str(description.get("llm") or "").strip():
        yield f"{path}: description.llm is empty {INSTALLATION}"
    parameters: Sequence[Mapping[str, Any]] = tool.get("parameters") or []
    names = [parameter.get("name") for parameter in parameters]
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        yield f"{path}: the parameter {name!r} is there twice {CALL}"
    for parameter in parameters:
        yield from _parameter_problems(f"{path}: {parameter.get('name')}", parameter)
    yield from _output_problems(path, tool.get("output_schema"))
    yield from _source_problems(plugin, path, tool, "Tool")


def _parameter_problems(where: str, parameter: Mapping[str, Any]) -> Iterator[str]:
    kind, form = parameter.get("type"), parameter.get("form")
    if not isinstance(parameter.get("name"), str) or not parameter["name"]:
        yield f"{where}: name must be a text {INSTALLATION}"
    for key in sorted(set(parameter) - _PARAMETER_KEYS):
        yield f"{where}: {key} does not survive installation: the daemon knows no such key {INSTALLATION}"
    for key in ("label", "human_description"):
        yield from i18n_problems(f"{where}: {key}", parameter.get(key))
    if kind not in _PARAMETER_TYPES:
        yield f"{where}: type is {kind!r}, it must be one of {_one_of(_PARAMETER_TYPES)} {INSTALLATION}"
    if form not in _FORMS:
        yield f"{where}: form is {form!r}, it must be one of {_one_of(_FORMS)} {INSTALLATION}"
    if form == "llm":
        if not str(parameter.get("llm_description") or "").strip():
            yield f"{where}: llm_description is empty, so that no model knows what to give {PROJECT}"
        if kind not in _TOLD_TO_MODELS:
            yield f"{where}: strict model APIs refuse the type {kind!r} in an agent, use form: form {CALL}"
    if kind in _SELECTORS and not parameter.get("required"):
        yield f"{where}: agents leave out, without a word, a tool with an empty {kind}, use a string {CALL}"
    if kind in ("file", "files") and parameter.get("required"):
        yield f"{where}: agents cannot use a tool that requires a file {CALL}"
    yield from _scope_problems(where, parameter)
    yield from _option_problems(where, parameter)
    yield from _number_problems(where, parameter)


def _scope_problems(where: str, parameter: Mapping[str, Any]) -> Iterator[str]:
    if "scope" not in parameter:
        return
    kind = parameter.get("type")
    if kind not in _SCOPES:
        yield f"{where}: scope is for {_one_of(_SCOPES)} alone {INSTALLATION}"
        return
    for part in str(parameter["scope"]).split("&"):
        if part not in _SCOPES[kind]:
            yield f"{where}: scope {part!r} is none of {_one_of(_SCOPES[kind])} {INSTALLATION}"


def _option_problems(where: str, field: Mapping[str, Any]) -> Iterator[str]:
    options = field.get("options") or []
    values = [option.get("value") for option in options]
    for option in options:
        value = option.get("value")
        if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_OPTION:
            yield f"{where}: option {value!r} must be a text of 1 to {_LONGEST_OPTION} characters {INSTALLATION}"
        yield from i18n_problems(f"{where}: option {value!r}: label", option.get("label"))
    for value in sorted({str(value) for value in values if values.count(value) > 1}):
        yield f"{where}: the option {value!r} is there twice {CALL}"
    if field.get("type") == "select":
        if not options:
            yield f"{where}: a select without options {CALL}"
        elif "default" in field and field["default"] not in values:
            yield f"{where}: default {field['default']!r} is none of its options {CALL}"


def _number_problems(where: str, parameter: Mapping[str, Any]) -> Iterator[str]:
    limits = {key: parameter[key] for key in ("min", "max", "precision") if key in parameter}
    if limits and parameter.get("type") != "number":
        yield f"{where}: {', '.join(limits)} is for numbers alone {PROJECT}"
    for key, value in limits.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield f"{where}: {key} is {value!r}, it must be a number {INSTALLATION}"
            return
    if not isinstance(limits.get("precision", 0), int) or limits.get("precision", 0) < 0:
        yield f"{where}: precision is {limits['precision']!r}, it must be a whole number {INSTALLATION}"
    least, most = limits.get("min", float("-inf")), limits.get("max", float("inf"))
    if least > most:
        yield f"{where}: min {least} is above max {most} {PROJECT}"
    default = parameter.get("default")
    if parameter.get("type") == "number" and default is not None:
        if isinstance(default, bool) or not isinstance(default, (int, float)):
            yield f"{where}: default is {default!r}, it must be a number {CALL}"
        elif not least <= default <= most:
            yield f"{where}: default {default} is not between {least} and {most} {PROJECT}"


def _output_problems(path: str, schema: object) -> Iterator[str]:
    if schema is None:
        return
    if not isinstance(schema, dict) or schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        yield f"{path}: output_schema must be of type object and have properties {CALL}"
        return
    for name, property_ in schema["properties"].items():
        where = f"{path}: output {name}"
        if name in _RESERVED_OUTPUTS:
            yield f"{where} would take the place of the Tool node's own {CALL}"
        if not _IDENTIFIER.fullmatch(str(name)):
            yield f"{where}: no template could name it, use letters, digits and '_' {CALL}"
        kind = property_.get("type") if isinstance(property_, dict) else None
        if kind not in _JSON_TYPES:
            yield f"{where}: type is {kind!r}, it must be one of {_one_of(_JSON_TYPES)} {CALL}"
        elif kind == "array" and "items" not in property_:
            yield f"{where}: an array needs items, or its variable has no type {CALL}"


def _identity_problems(where: str, identity: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    if not _IDENTIFIER.fullmatch(str(identity.get("name") or "")):
        yield f"{where}: name is {identity.get('name')!r}, it must match {_IDENTIFIER.pattern} {INSTALLATION}"
    if not identity.get("author"):
        yield f"{where}: identity lacks an author {INSTALLATION}"
    elif identity["author"] != manifest.get("author"):
        yield f"{where}: author is {identity['author']!r}, the manifest's is {manifest.get('author')!r} {PROJECT}"
    yield from i18n_problems(f"{where}: label", identity.get("label"))


def _source_problems(plugin: Path, where: str, declared: Mapping[str, Any], base: str) -> Iterator[str]:
    """The SDK takes the only subclass that the module's namespace shows."""
    source = ((declared.get("extra") or {}).get("python") or {}).get("source")
    if not source or not (plugin / source).is_file():
        yield f"{where}: extra.python.source {source!r} is no file of the plugin {START}"
        return
    try:
        tree = ast.parse((plugin / source).read_text(encoding="utf-8"))
    except SyntaxError as exc:
        yield f"{source}: line {exc.lineno} is no Python: {exc.msg} {START}"
        return
    classes = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(each).rpartition(".")[2] == base for each in node.bases)
    ]
    if len(classes) != 1:
        yield f"{source} has {len(classes)} subclasses of {base}, it must have exactly one {START}"


def _one_of(names: Iterable[str]) -> str:
    return ", ".join(sorted(names) if isinstance(names, frozenset) else names)
