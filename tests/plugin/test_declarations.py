"""The YAML files against the rules of Dify's daemon and SDK, many of which show only at installation or at run time."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfybridge import credentials, library, parameters, reading
from scripts.checks import manifest as manifest_rules
from scripts.checks.manifest import LANGUAGES, i18n_problems

ROOT = Path(__file__).parents[2]
IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]+")
PARAMETER_TYPES = frozenset((
    "string", "number", "boolean", "select", "secret-input", "file", "files", "app-selector", "model-selector", "any",
    "dynamic-select", "array", "object", "checkbox", "date", "date-range",
))  # fmt: skip
CREDENTIAL_TYPES = frozenset((
    "secret-input", "text-input", "select", "boolean", "model-selector", "app-selector", "array[tools]",
))  # fmt: skip
#: What the daemon's structs hold; another key does not survive installation.
PARAMETER_KEYS = frozenset((
    "name", "label", "human_description", "type", "form", "llm_description", "required", "default", "min", "max",
    "precision", "options", "scope", "auto_generate", "template", "placeholder",
))  # fmt: skip
#: Output names that would take the place of the Tool node's own.
RESERVED_OUTPUTS = frozenset(("text", "files", "json"))


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


MANIFEST = load("manifest.yaml")
PROVIDER = load(MANIFEST["plugins"]["tools"][0])
TOOLS = {path: load(path) for path in PROVIDER["tools"]}
TEXT2IMAGE = TOOLS["tools/text2image.yaml"]
PARAMETERS = {parameter["name"]: parameter for parameter in TEXT2IMAGE["parameters"]}
CREDENTIALS = PROVIDER["credentials_for_provider"]


def i18n_texts(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping below ``node`` that has a language for a key, and where it stands."""
    match node:
        case dict() if set(node) & set(LANGUAGES):
            yield where, node
        case dict():
            for key, value in node.items():
                yield from i18n_texts(value, f"{where}.{key}")
        case list():
            for index, value in enumerate(node):
                yield from i18n_texts(value, f"{where}[{index}]")


FILES = {"manifest.yaml": MANIFEST, "provider/comfyui.yaml": PROVIDER, **TOOLS}


def test_manifest_passes_what_installation_checks() -> None:
    assert list(manifest_rules.problems(MANIFEST)) == []


def test_manifest_asks_for_language_and_moderation_models_alone() -> None:
    assert MANIFEST["resource"]["permission"] == {"model": {"enabled": True, "llm": True, "moderation": True}}
    assert {tool["identity"]["name"] for tool in TOOLS.values() if "moderation_model" in json.dumps(tool)} == {
        "text2image",
        "image2image",
        "inpaint",
        "text2video",
        "image2video",
        "text2audio",
        "run_workflow",
    }


@pytest.mark.parametrize("path", [path for path, tool in TOOLS.items() if "moderation_model" in json.dumps(tool)])
def test_moderation_is_off_unless_the_app_chooses_a_model(path: str) -> None:
    (model,) = (each for each in TOOLS[path]["parameters"] if each["name"] == "moderation_model")

    assert (model["type"], model["form"]) == ("string", "form")
    assert all("openai/omni-moderation-latest" in text for text in model["human_description"].values())
    assert not model["required"]
    assert "default" not in model


WRITTEN = ("text2image", "image2image", "inpaint", "text2video", "image2video", "text2audio", "run_workflow")


def test_prompts_can_be_enhanced_wherever_there_are_prompts() -> None:
    for path, tool in TOOLS.items():
        parameters = {each["name"]: each for each in tool["parameters"]}

        assert ("prompt" in parameters) == (Path(path).stem in WRITTEN), path
        assert ("enhance_with" in parameters) == ("style" in parameters) == ("prompt" in parameters), path
        assert ("prompt" in tool["output_schema"]["properties"]) == (Path(path).stem in (*WRITTEN, "get_result")), path


@pytest.mark.parametrize("name", WRITTEN)
def test_enhancing_is_off_unless_the_app_chooses_a_model(name: str) -> None:
    parameters = {each["name"]: each for each in TOOLS[f"tools/{name}.yaml"]["parameters"]}
    model, style = parameters["enhance_with"], parameters["style"]

    assert (model["type"], model["form"]) == ("string", "form")
    assert all("openai/gpt-4o-mini" in text for text in model["human_description"].values())
    assert (style["type"], style["form"]) == ("string", "form")
    assert not any(each["required"] or "default" in each for each in (model, style))


def test_sizes_of_videos_are_those_that_a_model_may_choose() -> None:
    (size,) = (each for each in TOOLS["tools/text2video.yaml"]["parameters"] if each["name"] == "size")

    assert tuple(option["value"] for option in size["options"]) == parameters.VIDEO_SIZES


@pytest.mark.parametrize("name", FILES)
def test_every_text_for_people_is_in_four_languages(name: str) -> None:
    texts = list(i18n_texts(FILES[name], name))

    assert texts
    assert [problem for where, text in texts for problem in i18n_problems(where, text)] == []


@pytest.mark.parametrize(
    "section",
    [*PARAMETERS.values(), *({"name": name, **field} for name, field in CREDENTIALS.items())],
    ids=[*PARAMETERS, *(f"credential {name}" for name in CREDENTIALS)],
)
def test_every_field_has_texts_for_people(section: Mapping[str, Any]) -> None:
    texts = [key for key in ("label", "human_description", "help", "placeholder") if key in section]

    assert "label" in texts
    assert [problem for key in texts for problem in i18n_problems(key, section[key])] == []


def test_provider_identity() -> None:
    identity = PROVIDER["identity"]

    assert identity["author"] == MANIFEST["author"]
    assert identity["name"] == "comfyui"
    assert (ROOT / "_assets" / identity["icon"]).is_file()
    assert (ROOT / PROVIDER["extra"]["python"]["source"]).is_file()


def test_credentials_are_of_types_that_the_daemon_knows() -> None:
    assert set(CREDENTIALS) == {
        "base_url",
        "api_key",
        "headers",
        "verify_tls",
        "image_base_url",
        "comfy_org_api_key",
        "max_prompt_length",
        "blocked_words",
        "max_pixels",
        "max_jobs_per_user",
        "fallback_url",
        "fallback_api_key",
        "fallback_model",
        "fallback_sizes",
    }
    assert {field["type"] for field in CREDENTIALS.values()} <= CREDENTIAL_TYPES


@pytest.mark.parametrize("name", ["api_key", "headers", "comfy_org_api_key", "fallback_api_key"])
def test_secrets_are_stored_encrypted(name: str) -> None:
    assert CREDENTIALS[name]["type"] == "secret-input"


def test_only_the_address_is_required() -> None:
    assert [name for name, field in CREDENTIALS.items() if field.get("required")] == ["base_url"]


@pytest.mark.parametrize("path", TOOLS)
def test_tool_identity(path: str) -> None:
    tool = TOOLS[path]

    assert tool["identity"]["author"] == MANIFEST["author"]
    assert IDENTIFIER.fullmatch(tool["identity"]["name"])
    assert tool["identity"]["name"] == Path(path).stem
    assert (ROOT / tool["extra"]["python"]["source"]).is_file()
    assert tool["description"]["llm"].strip()


@pytest.mark.parametrize("path", TOOLS)
def test_no_parameter_is_picked_from_a_list_of_difys(path: str) -> None:
    """An agent casts every setting, also an empty one, and leaves out, without a word, a tool where that fails.

    An empty selector fails, and Dify's daemon takes no mapping for its default. A list that the plugin makes when it is
    opened is empty in an agent's settings where ComfyUI is off.
    """
    picked = ("model-selector", "app-selector", "dynamic-select")

    assert [each["name"] for each in TOOLS[path]["parameters"] if each["type"] in picked] == []


@pytest.mark.parametrize("path", TOOLS)
def test_parameters_hold_to_the_daemons_rules(path: str) -> None:
    parameters = TOOLS[path]["parameters"]

    names = [parameter["name"] for parameter in parameters]
    assert len(names) == len(set(names))
    for parameter in parameters:
        assert set(parameter) <= PARAMETER_KEYS, parameter["name"]
        assert parameter["type"] in PARAMETER_TYPES, parameter["name"]
        assert parameter["form"] in ("llm", "form"), parameter["name"]
        if parameter["form"] == "llm":
            assert parameter["llm_description"].strip(), parameter["name"]
            # An Agent's model is told the raw type; strict APIs refuse "dynamic-select".
            # Files are left out of what it is told.
            told = ("string", "number", "boolean", "select", "file", "files")
            assert parameter["type"] in told, parameter["name"]
        # Agents cannot pass files.
        assert not (parameter["type"] in ("file", "files") and parameter.get("required")), parameter["name"]


@pytest.mark.parametrize("name", [name for name, parameter in PARAMETERS.items() if parameter["type"] == "select"])
def test_selects_default_to_one_of_their_options(name: str) -> None:
    options = [option["value"] for option in PARAMETERS[name]["options"]]

    assert len(options) == len(set(options))
    assert all(isinstance(value, str) and 0 < len(value) < 128 for value in options)
    assert PARAMETERS[name]["default"] in options


@pytest.mark.parametrize("name", [name for name, parameter in PARAMETERS.items() if parameter["type"] == "number"])
def test_numbers_default_within_their_bounds(name: str) -> None:
    number = PARAMETERS[name]

    if "default" in number:
        assert number.get("min", number["default"]) <= number["default"] <= number.get("max", number["default"])


def test_only_the_prompt_is_required() -> None:
    assert [name for name, parameter in PARAMETERS.items() if parameter.get("required")] == ["prompt"]


def test_parameters_are_those_that_apps_are_built_on() -> None:
    assert set(PARAMETERS) == {
        "prompt", "negative_prompt", "template", "model", "loras", "sampler", "scheduler", "size", "width", "height",
        "seed", "steps", "cfg", "count", "output", "format", "keep_metadata", "wait", "timeout", "progress",
        "idempotency_key", "after_timeout", "moderation_model", "enhance_with", "style",
    }  # fmt: skip


def test_template_offers_every_template_that_needs_a_text_alone() -> None:
    parameter = PARAMETERS["template"]
    made = [entry for entry in library.templates() if entry.task == "text2image"]
    names = ["auto", *(entry.name for entry in made if not entry.roles({})["images"])]

    if parameter["type"] == "select":
        assert sorted(option["value"] for option in parameter["options"]) == sorted(names)
    assert parameter["default"] == "auto"
    mentioned = json.dumps([parameter["llm_description"] if parameter["form"] == "llm" else "", parameter])
    assert [name for name in names if name not in mentioned] == []


def test_sizes_offered() -> None:
    assert [option["value"] for option in PARAMETERS["size"]["options"]] == [
        "auto", *reading.SIZES, *reading.PLATFORM_SIZES, "custom",
    ]  # fmt: skip


def test_formats_offered() -> None:
    assert [option["value"] for option in PARAMETERS["format"]["options"]] == ["original", "webp", "jpeg"]


def test_outputs_offered() -> None:
    assert [option["value"] for option in PARAMETERS["output"]["options"]] == ["image", "markdown", "both"]


SETTINGS = {
    "format": "original", "keep_metadata": True, "wait": True, "timeout": 240, "progress": False, "count": 1,
}  # fmt: skip


def test_defaults_that_dify_shows() -> None:
    shown = {name: PARAMETERS[name].get("default") for name in SETTINGS}

    assert shown == SETTINGS


def test_run_workflow_answers_by_the_same_settings() -> None:
    other = {parameter["name"]: parameter for parameter in TOOLS["tools/run_workflow.yaml"]["parameters"]}

    for name in ("output", "format", "keep_metadata", "wait", "timeout", "progress"):
        assert other[name] == PARAMETERS[name]


@pytest.mark.parametrize("tool", ["image2image", "inpaint", "upscale", "get_result"])
def test_other_tools_for_pictures_have_the_same_forms(tool: str) -> None:
    other = {parameter["name"]: parameter for parameter in TOOLS[f"tools/{tool}.yaml"]["parameters"]}

    assert (other["format"], other["keep_metadata"]) == (PARAMETERS["format"], PARAMETERS["keep_metadata"])


class Reads(dict[str, Any]):
    """Values that remember which of them were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def read(values: Mapping[str, Any]) -> parameters.Call:
    return parameters.text2image(values, parameters.Limits(8000, serverless=False))


def test_every_declared_parameter_is_read_and_no_other() -> None:
    values = Reads({"prompt": "a red fox"})

    read(values)

    assert values.names == set(PARAMETERS)


def test_every_declared_credential_is_read_and_no_other() -> None:
    values = Reads({"base_url": "http://comfyui:8188"})

    credentials.read(values)

    assert values.names == set(CREDENTIALS)


def test_defaults_shown_are_the_defaults_applied() -> None:
    shown = {name: parameter["default"] for name, parameter in PARAMETERS.items() if "default" in parameter}

    assert read({"prompt": "a red fox", **shown}) == read({"prompt": "a red fox"})


def test_credentials_shown_are_those_applied_to_an_empty_form() -> None:
    shown = {name: field["default"] for name, field in CREDENTIALS.items() if "default" in field}
    typed = {"base_url": "https://comfyui:8188"}

    assert shown == {"verify_tls": True}
    assert credentials.read({**typed, **shown}) == credentials.read(typed)


def test_prompt_length_shown_is_the_one_applied() -> None:
    assert int(CREDENTIALS["max_prompt_length"].get("default", 8000)) == credentials.MAX_PROMPT_LENGTH == 8000


BOUNDED = [(name, key) for name, parameter in PARAMETERS.items() for key in ("min", "max") if key in parameter]


@pytest.mark.parametrize(("name", "key"), BOUNDED, ids=[f"{name} {key}" for name, key in BOUNDED])
def test_bounds_shown_are_taken(name: str, key: str) -> None:
    read({"prompt": "a red fox", name: PARAMETERS[name][key]})


SELECTED = [
    (name, option["value"])
    for name, parameter in PARAMETERS.items()
    if parameter["type"] == "select"
    for option in parameter["options"]
]


@pytest.mark.parametrize(("name", "value"), SELECTED, ids=[f"{name} {value}" for name, value in SELECTED])
def test_options_shown_are_taken(name: str, value: str) -> None:
    sides = {"width": 512, "height": 512} if value == reading.CUSTOM else {}

    read({"prompt": "a red fox", name: value, **sides})


def test_output_variables_are_declared() -> None:
    schema = TEXT2IMAGE["output_schema"]

    assert schema["type"] == "object"
    assert not RESERVED_OUTPUTS & set(schema["properties"])
    assert set(schema["properties"]) == {
        "prompt_id", "status", "seed", "width", "height", "template", "model", "seconds", "image_urls", "progress",
        "made_by", "prompt", "negative_prompt",
    }  # fmt: skip
