"""What Dify would refuse: each rule is broken in a copy of the package, and the check has to say so in words."""

import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.checks import CALL, INSTALLATION, MARKETPLACE, PACKAGER, PROJECT, START
from scripts.checks.manifest import LANGUAGES
from scripts.package import PackageError, pack

ROOT = Path(__file__).parents[2]
#: libyaml's where it is installed: ten times as quick.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PROVIDER, TOOL = "provider/comfyui.yaml", "tools/text2image.yaml"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def plugin(package: Path, tmp_path: Path) -> Path:
    """The unpacked package, to spoil."""
    plugin = tmp_path / "plugin"
    zipfile.ZipFile(package).extractall(plugin)
    (plugin / ".difyignore").write_text("dist/\n.difyignore\n")
    return plugin


@pytest.fixture
def refused(plugin: Path, tmp_path: Path) -> Callable[[], list[str]]:
    """Pack, which has to fail, and return the sentences."""

    def refuse() -> list[str]:
        with pytest.raises(PackageError) as raised:
            pack(plugin, tmp_path / "dist")
        assert not (tmp_path / "dist").exists()
        return str(raised.value).splitlines()

    return refuse


def test_copy_that_nobody_spoiled_is_packed(plugin: Path, tmp_path: Path) -> None:
    assert pack(plugin, tmp_path / "dist").is_file()


def at(document: Any, path: str) -> tuple[Any, Any]:
    """The parent and the key of a place such as ``parameters.size.options.0.value``; parameters go by their names."""
    *way, last = path.split(".")
    for key in way:
        document = step(document, key)[1]
    return document, step(document, last)[0]


def step(document: Any, key: str) -> tuple[Any, Any]:
    if not isinstance(document, list):
        return key, document.get(key)
    number = next((i for i, each in enumerate(document) if isinstance(each, dict) and each.get("name") == key), None)
    number = int(key) if number is None else number
    return number, document[number]


GONE = object()


def spoil(plugin: Path, name: str, path: str, value: Any) -> None:
    """Set one place of a YAML file, or take it out."""
    document = yaml.load((plugin / name).read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 (a safe one)
    parent, key = at(document, path)
    if value is GONE:
        del parent[key]
    else:
        parent[key] = value
    (plugin / name).write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")


LONG = "x" * 1024
TEXTS = dict.fromkeys(LANGUAGES, "x")
#: A place, what stands there instead, a part of the sentence, and who refuses it.
MANIFEST: dict[str, tuple[str, Any, str, str]] = {
    "author in capitals": ("author", "ComfyBridge", "author is 'ComfyBridge', it must match", INSTALLATION),
    "author of Dify's": ("author", "my-dify", "author must not contain 'dify'", MARKETPLACE),
    "name": ("name", "comfy bridge", "name is 'comfy bridge', it must match", INSTALLATION),
    "version": ("version", "0.1", "version is '0.1', it must match", INSTALLATION),
    "type": ("type", "tool", "type is 'tool', it must match plugin", INSTALLATION),
    "no English": ("label.en_US", GONE, "label needs a text of 1 to 1023 characters in en_US", INSTALLATION),
    "no Chinese": ("label.zh_Hans", GONE, "label needs a text of 1 to 1023 characters in zh_Hans", PROJECT),
    "long text": ("description.ja_JP", LONG, "description needs a text of 1 to 1023", INSTALLATION),
    "unknown language": ("label.de_DE", "Brücke", "de_DE is none of Dify's languages", PROJECT),
    "texts that are none": ("label", "Bridge", "label must be a mapping of languages to texts", INSTALLATION),
    "creation": ("created_at", "yesterday", "created_at is 'yesterday', it must be like", INSTALLATION),
    "creation to come": ("created_at", datetime(2999, 1, 1, tzinfo=UTC), "is in the future", MARKETPLACE),
    "memory": ("resource.memory", 0, "resource.memory is 0", INSTALLATION),
    "storage": ("resource.permission.storage", {"enabled": True, "size": 1024}, "storage.enabled is more", PROJECT),
    "no permission": (
        "resource.permission.model.moderation",
        False,
        "model lacks moderation, which comfybridge/",
        CALL,
    ),
    "speech": ("resource.permission.model.tts", True, "model.tts is more than this plugin needs", PROJECT),
    "icon that is not there": ("icon", "gone.svg", "_assets/gone.svg is missing", INSTALLATION),
    "no icon": ("icon", GONE, "icon names no file of _assets/", INSTALLATION),
    "icon with its folder": ("icon", "_assets/icon.svg", "it must be a file name of _assets/", INSTALLATION),
    "no provider": ("plugins.tools", [], "plugins.tools names no provider", INSTALLATION),
    "provider that is not there": ("plugins.tools.0", "provider/x.yaml", "provider/x.yaml is missing", INSTALLATION),
    "two providers": ("plugins.tools", [PROVIDER, PROVIDER], "names 2 providers", INSTALLATION),
    "models beside tools": ("plugins.models", ["m.yaml"], "plugins.models cannot go together", INSTALLATION),
    "tag": ("tags.0", "pictures", "'pictures' is none of Dify's tags", INSTALLATION),
    "no privacy page": ("privacy", GONE, "privacy names no page", MARKETPLACE),
    "repository": ("repo", "comfybridge", "repo is 'comfybridge', it must be an address", INSTALLATION),
    "machine": ("meta.arch", ["riscv"], "meta.arch is ['riscv']", INSTALLATION),
    "specification": ("meta.version", "0.0.3", "meta.version is '0.0.3'", INSTALLATION),
    "number for a Python": ("meta.runner.version", 3.12, "'3.12' in quotes", INSTALLATION),
    "oldest Dify": ("meta.minimum_dify_version", "1.x", "minimum_dify_version is '1.x'", INSTALLATION),
}
PROVIDERS: dict[str, tuple[str, Any, str, str]] = {
    "name": ("identity.name", "Comfy UI", "name is 'Comfy UI', it must match", INSTALLATION),
    "author": ("identity.author", GONE, "identity lacks an author", INSTALLATION),
    "other author": ("identity.author", "fox", "author is 'fox', the manifest's is 'comfybridge'", PROJECT),
    "label": ("identity.label.en_US", "", "label needs a text", INSTALLATION),
    "description": ("identity.description.pt_BR", GONE, "description needs a text", PROJECT),
    "icon": ("identity.icon", "gone.svg", "icon 'gone.svg' is no file of _assets/", INSTALLATION),
    "no icon": ("identity.icon", GONE, "identity lacks an icon", INSTALLATION),
    "tag": ("identity.tags", ["art"], "'art' is none of Dify's tags", INSTALLATION),
    "no tools": ("tools", [], "tools names no tool", INSTALLATION),
    "source": ("extra.python.source", "provider/gone.py", "'provider/gone.py' is no file of the plugin", START),
    "type": ("credentials_for_provider.base_url.type", "string", "base_url: type is 'string'", INSTALLATION),
    "field label": ("credentials_for_provider.base_url.label", GONE, "base_url: label must be a mapping", INSTALLATION),
    "help": ("credentials_for_provider.api_key.help.en_US", LONG, "api_key: help needs a text", INSTALLATION),
    "scope": ("credentials_for_provider.api_key.scope", "llm", "api_key: scope is for selectors alone", INSTALLATION),
    "default": ("credentials_for_provider.api_key.default", [1], "default must be a single value", INSTALLATION),
    "too many": (
        "credentials_for_provider",
        {f"f{n}": {"type": "text-input", "label": TEXTS} for n in range(65)},
        "65 credentials, Dify takes 64",
        INSTALLATION,
    ),
}  # fmt: skip
SELECTOR = {"name": "style", "type": "model-selector", "form": "form", "label": TEXTS, "human_description": TEXTS}
TOOLS: dict[str, tuple[str, Any, str, str]] = {
    "name": ("identity.name", "text 2 image", "name is 'text 2 image', it must match", INSTALLATION),
    "name of another": ("identity.name", "upscale", "the name 'upscale' is that of", CALL),
    "label": ("identity.label", GONE, "label must be a mapping", INSTALLATION),
    "description": ("description.human.en_US", LONG, "description.human needs a text", INSTALLATION),
    "for models": ("description.llm", " ", "description.llm is empty", INSTALLATION),
    "source": ("extra.python.source", GONE, "extra.python.source None is no file", START),
    "parameter without a name": ("parameters.seed.name", 7, "7: name must be a text", INSTALLATION),
    "parameter twice": ("parameters.seed.name", "prompt", "the parameter 'prompt' is there twice", CALL),
    "parameter label": ("parameters.seed.label.zh_Hans", "", "seed: label needs a text", INSTALLATION),
    "parameter text": ("parameters.seed.human_description", GONE, "seed: human_description must be", INSTALLATION),
    "key": ("parameters.seed.tooltip", "x", "seed: tooltip does not survive installation", INSTALLATION),
    "type": ("parameters.prompt.type", "text", "prompt: type is 'text', it must be one of any, app", INSTALLATION),
    "form": ("parameters.prompt.form", "agent", "prompt: form is 'agent'", INSTALLATION),
    "not described to models": ("parameters.prompt.llm_description", GONE, "llm_description is empty", PROJECT),
    "not for models": ("parameters.prompt.type", "dynamic-select", "strict model APIs refuse", CALL),
    "required file": (
        "parameters.prompt", {
            "name": "image", "type": "file", "form": "llm", "required": True, "llm_description": "x",
            "label": TEXTS, "human_description": TEXTS,
        },
        "agents cannot use a tool that requires a file",
        CALL,
    ),
    "scope of a text": ("parameters.prompt.scope", "string", "prompt: scope is for app-selector, model", INSTALLATION),
    "scope": (
        "parameters.style", {**SELECTOR, "scope": "moderation&art"}, "scope 'art' is none of", INSTALLATION,
    ),
    "optional model": ("parameters.style", SELECTOR, "style: agents leave out, without a word, a tool", CALL),
    "optional app": ("parameters.style.type", "app-selector", "with an empty app-selector, use a string", CALL),
    "option": ("parameters.size.options.0.value", 11, "option 11 must be a text of 1 to 127", INSTALLATION),
    "long option": ("parameters.size.options.1.value", "x" * 128, "must be a text of 1 to 127", INSTALLATION),
    "option label": ("parameters.size.options.0.label.en_US", GONE, "label needs a text", INSTALLATION),
    "option twice": ("parameters.output.options.0.value", "both", "the option 'both' is there twice", CALL),
    "no options": ("parameters.output.options", [], "output: a select without options", CALL),
    "default of a select": ("parameters.output.default", "gif", "default 'gif' is none of its options", CALL),
    "bounds of a text": ("parameters.prompt.max", 9, "prompt: max is for numbers alone", PROJECT),
    "bound": ("parameters.count.max", "8", "count: max is '8', it must be a number", INSTALLATION),
    "bounds": ("parameters.count.min", 9, "count: min 9 is above max 8", PROJECT),
    "precision": ("parameters.count.precision", 0.5, "precision is 0.5, it must be a whole", INSTALLATION),
    "default": ("parameters.count.default", 9, "count: default 9 is not between 1 and 8", PROJECT),
    "default text": ("parameters.count.default", "1", "count: default is '1', it must be a number", CALL),
    "outputs": ("output_schema.type", "array", "output_schema must be of type object", CALL),
    "output of the node": ("output_schema.properties.files", {"type": "array"}, "output files would take", CALL),
    "output name": ("output_schema.properties.my seed", {"type": "integer"}, "no template could name it", CALL),
    "output type": ("output_schema.properties.seed.type", "int", "output seed: type is 'int'", CALL),
    "output items": ("output_schema.properties.image_urls.items", GONE, "image_urls: an array needs items", CALL),
}  # fmt: skip
CASES = [
    (name, *case)
    for name, cases in (("manifest.yaml", MANIFEST), (PROVIDER, PROVIDERS), (TOOL, TOOLS))
    for case in cases.values()
]
IDS = [f"{kind}: {case}" for kind, cases in (("m", MANIFEST), ("p", PROVIDERS), ("t", TOOLS)) for case in cases]


@pytest.mark.parametrize(("name", "path", "value", "sentence", "who"), CASES, ids=IDS)
def test_broken_declaration_is_refused(
    plugin: Path, refused: Callable[[], list[str]], name: str, path: str, value: Any, sentence: str, who: str
) -> None:
    spoil(plugin, name, path, value)

    said = refused()

    assert [line for line in said if sentence in line and line.endswith(who)], said


def test_permission_that_nothing_uses_is_refused(plugin: Path, refused: Callable[[], list[str]]) -> None:
    source = plugin / "comfybridge" / "dify" / "moderating.py"
    source.write_text(source.read_text(encoding="utf-8").replace("session.model.moderation", "session.model.llm"))

    assert [line for line in refused() if "permission.model.moderation is used by no source" in line]


SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">{}</svg>'
#: A file of the package, what it holds instead (``None``: it is not there), a part of the sentence, and who refuses it.
FILES: dict[str, tuple[str, str | None, str, str]] = {
    "no main": ("main.py", None, "main.py is missing, or .difyignore leaves it out", START),
    "no requirements": ("requirements.txt", None, "requirements.txt is missing", INSTALLATION),
    "no privacy page": ("PRIVACY.md", None, "PRIVACY.md is missing", MARKETPLACE),
    "empty privacy page": ("PRIVACY.md", " \n", "PRIVACY.md is empty", MARKETPLACE),
    "no dark icon": ("_assets/icon_dark.svg", None, "_assets/icon_dark.svg is missing", INSTALLATION),
    "pyproject": ("pyproject.toml", "[project]", "pyproject.toml would be installed instead of", INSTALLATION),
    "secrets": (".env", "REMOTE_INSTALL_KEY=x", ".env holds secrets", START),
    "Chinese in README": (
        "README.md",
        "# Bridge\n\n桥\n",
        "README.md, line 3: '桥'; it must be in English",
        MARKETPLACE,
    ),
    "Japanese in README": ("README.md", "ブリッジ", "README.md, line 1: 'ブ'", MARKETPLACE),
    "Chinese comma in README": ("README.md", "a，b", "README.md, line 1: '，'", MARKETPLACE),
    "script in the icon": ("_assets/icon.svg", SVG.format("<script/>"), "icon.svg holds a <script>", PROJECT),
    "script in an attribute": ("_assets/icon.svg", SVG.format("<g onload='x()'/>"), "a script in onload", PROJECT),
    "picture from elsewhere": (
        "_assets/icon.svg",
        SVG.format("<image href='https://example.com/a.png'/>"),
        "refers to something outside of itself in href",
        PROJECT,
    ),
    "paint from elsewhere": (
        "_assets/icon_dark.svg",
        SVG.format("<g fill='url(https://example.com/a.svg#x)'/>"),
        "icon_dark.svg refers to something outside of itself in fill",
        PROJECT,
    ),
    "oblong icon": ("_assets/icon.svg", SVG.replace("64 64", "64 32"), "a square viewBox", PROJECT),
    "broken icon": ("_assets/icon.svg", "<svg", "icon.svg is no well-formed SVG", PROJECT),
    "document type": ("_assets/icon.svg", f"<!DOCTYPE svg>{SVG}", "declares a document type", PROJECT),
    "heavy icon": ("_assets/icon.svg", SVG.format("<g/>" * 20_000), "icon.svg has 78 KiB", PROJECT),
    "no SDK": ("requirements.txt", "requests\n", "does not name dify_plugin", MARKETPLACE),
    "old SDK": ("requirements.txt", "dify_plugin>=0.4.4,<1\n", "must ask for dify_plugin>=0.5.0", MARKETPLACE),
    "any SDK": ("requirements.txt", "dify_plugin\n", "must ask for dify_plugin>=0.5.0", MARKETPLACE),
    "requirement from a repository": (
        "requirements.txt",
        "dify_plugin>=0.7.4\ngit+https://example.com/a.git\n",
        "'git+https://example.com/a.git' is no name",
        MARKETPLACE,
    ),
    "two tools in a file": (
        "tools/upscale.py",
        "from dify_plugin import Tool\nclass A(Tool): ...\nclass B(Tool): ...\n",
        "tools/upscale.py has 2 subclasses of Tool, it must have exactly one",
        START,
    ),
    "no tool in a file": ("tools/upscale.py", "", "tools/upscale.py has 0 subclasses of Tool", START),
    "no provider in a file": ("provider/comfyui.py", "", "has 0 subclasses of ToolProvider", START),
    "no Python": ("comfybridge/client.py", "def x(:\n", "comfybridge/client.py: line 1 is no Python", INSTALLATION),
}


@pytest.mark.parametrize(("name", "text", "sentence", "who"), FILES.values(), ids=FILES)
def test_broken_file_is_refused(
    plugin: Path, refused: Callable[[], list[str]], name: str, text: str | None, sentence: str, who: str
) -> None:
    if text is None:
        (plugin / name).unlink()
    else:
        (plugin / name).write_text(text, encoding="utf-8")

    said = refused()

    assert [line for line in said if sentence in line and line.endswith(who)], said


def test_package_over_difys_limit_is_refused(plugin: Path, refused: Callable[[], list[str]]) -> None:
    with (plugin / "checkpoint.safetensors").open("wb") as big:
        big.truncate(51 * 1024 * 1024)

    assert [line for line in refused() if "MB, Dify takes 50" in line and line.endswith(PACKAGER)]


def test_icon_that_is_no_svg_is_refused(plugin: Path, refused: Callable[[], list[str]]) -> None:
    (plugin / "_assets" / "icon.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    spoil(plugin, "manifest.yaml", "icon", "icon.png")

    assert f"_assets/icon.png is no SVG {PROJECT}" in refused()


def test_all_problems_are_told_at_once(plugin: Path, refused: Callable[[], list[str]]) -> None:
    spoil(plugin, "manifest.yaml", "version", "one")
    spoil(plugin, TOOL, "description.llm", "")
    (plugin / "PRIVACY.md").unlink()

    assert len(refused()) == 3
