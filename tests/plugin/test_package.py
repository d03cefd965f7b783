"""The package that Dify gets: what is in it, that it is the same each time, and that it runs on its own."""

import hashlib
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon
from scripts.package import PackageError, pack, packed_files

ROOT = Path(__file__).parents[2]
MANIFEST = (ROOT / "manifest.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A plugin folder that can be packed, small enough to spoil."""
    plugin = tmp_path / "plugin"
    for name in ("main.py", "requirements.txt", "README.md", "PRIVACY.md", "LICENSE", "provider/comfyui.yaml"):
        (plugin / name).parent.mkdir(parents=True, exist_ok=True)
        (plugin / name).write_text("something")
    (plugin / "_assets").mkdir()
    for name in ("icon.svg", "icon_dark.svg"):
        (plugin / "_assets" / name).write_text("<svg/>")
    (plugin / ".difyignore").write_text("dist/\n.difyignore\n")
    (plugin / "manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    return plugin


def test_package_is_named_after_its_version(package: Path) -> None:
    assert package.name == "comfybridge-0.1.0.difypkg"


def test_package_is_the_same_each_time(package: Path, tmp_path: Path) -> None:
    again = pack(ROOT, tmp_path)

    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(package.read_bytes()).digest()


def test_package_holds_what_the_plugin_needs(package: Path) -> None:
    names = set(zipfile.ZipFile(package).namelist())

    assert names >= {
        "manifest.yaml", "main.py", "requirements.txt", "README.md", "PRIVACY.md", "LICENSE",
        "provider/comfyui.yaml", "provider/comfyui.py", "provider/__init__.py",
        "tools/text2image.yaml", "tools/text2image.py", "tools/__init__.py",
        "comfybridge/__init__.py", "comfybridge/client.py", "comfybridge/dify/calls.py", "comfybridge/generation.py",
        "workflows/sd15.json", "workflows/sd15.yaml", "_assets/icon.svg", "readme/README_zh_Hans.md",
    }  # fmt: skip


def test_package_leaves_out_what_only_developers_need(package: Path) -> None:
    names = zipfile.ZipFile(package).namelist()

    unwanted = (
        "tests/", "bench/", "docs/", "scripts/", "examples/", "out/", "dist/", ".", "pyproject.toml", "Makefile",
        "comfybridge/simulator/", "comfybridge/api/", "comfybridge/cli/", "comfybridge/diagnosis/",
        "comfybridge/demo.py", "comfybridge/service/",
    )  # fmt: skip
    assert [name for name in names if name.startswith(unwanted) or "__pycache__" in name] == []


def test_package_ignores_negations_as_difys_packager_does(plugin: Path) -> None:
    (plugin / ".difyignore").write_text("*.log\n!kept.log\n.difyignore\n")
    (plugin / "kept.log").write_text("kept by git, dropped by Dify")

    assert "kept.log" not in packed_files(plugin)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("author: comfybridge", "author: ComfyBridge", "author is 'ComfyBridge', it must match [a-z0-9_-]{1,64}"),
        ("name: comfybridge", "name: comfy bridge", "name is 'comfy bridge', it must match [a-z0-9_-]{1,128}"),
        ("version: 0.1.0", "version: 0.1", "version is 0.1, it must match"),
        ("icon: icon.svg", "icon: gone.svg", "_assets/gone.svg is missing"),
        ("label:\n  en_US: ComfyUI Bridge", "label:", "label needs a text of 1 to 1023 characters in en_US"),
        ("- image", "- pictures", "'pictures' is none of Dify's tags"),
        ("memory: 268435456", "memory: 0", "resource.memory is 0"),
        ('version: "3.12"', "version: 3.12", "'3.12' in quotes"),
    ],
    ids=["author", "name", "version", "icon", "english", "tag", "memory", "python"],
)
def test_bad_manifest_is_refused_in_words(plugin: Path, tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in MANIFEST
    (plugin / "manifest.yaml").write_text(MANIFEST.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(PackageError, match=re.escape(sentence)):
        pack(plugin, tmp_path)

    assert list(tmp_path.glob("*.difypkg")) == []


def test_empty_privacy_page_is_refused(plugin: Path, tmp_path: Path) -> None:
    (plugin / "PRIVACY.md").write_text("")

    with pytest.raises(PackageError, match=r"PRIVACY\.md is empty"):
        pack(plugin, tmp_path)


def test_package_over_difys_limit_is_refused(plugin: Path, tmp_path: Path) -> None:
    with (plugin / "checkpoint.safetensors").open("wb") as big:
        big.truncate(51 * 1024 * 1024)

    with pytest.raises(PackageError, match="51 MB, Dify takes 50"):
        pack(plugin, tmp_path)


def test_package_runs_on_its_requirements_alone(package: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    zipfile.ZipFile(package).extractall(plugin)
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", plugin / "requirements.txt"],
        check=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )

    with (
        Simulator() as comfyui,
        PluginDaemon(plugin, python=python, env={"PYTHONPATH": None}) as daemon,
    ):
        answer = daemon.call_tool(
            "comfyui", "text2image", {"prompt": "a red fox"}, credentials={"base_url": comfyui.url}
        )

    assert daemon.heartbeats[0] < 30
    assert answer.files[0].data.startswith(b"\x89PNG\r\n\x1a\n")
    installed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert "comfybridge" not in installed
    assert sys.prefix not in daemon.transcript
