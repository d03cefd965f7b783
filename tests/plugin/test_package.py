"""The package that Dify gets: what is in it, that it is the same each time, and that it runs on its own."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon
from scripts.checks import files
from scripts.package import pack, packed_files, uncommitted

ROOT = Path(__file__).parents[2]
GIT = shutil.which("git") or "git"


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


def test_package_is_named_after_its_version(package: Path) -> None:
    assert package.name == "comfybridge-0.1.0.difypkg"


def test_package_is_the_same_each_time(package: Path, tmp_path: Path) -> None:
    again = pack(ROOT, tmp_path)

    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(package.read_bytes()).digest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def clone(to: Path, umask: str, *settings: str) -> Path:
    """The last commit, checked out with git settings and file modes of somebody else's."""
    options = [part for setting in settings for part in ("-c", setting)]
    command = f'umask {umask} && exec "$0" "$@"'
    subprocess.run(
        ["/bin/sh", "-c", command, GIT, *options, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(to)],
        check=True,
    )
    return to


def packed_by_make(checkout: Path, **env: str) -> Path:
    """Pack as the target of the Makefile does, in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "scripts.package"], cwd=checkout, check=True, capture_output=True, env=os.environ | env
    )
    (package,) = (checkout / "dist").glob("*.difypkg")
    return package


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout")
def test_the_same_commit_gives_the_same_bytes_to_everybody(tmp_path: Path) -> None:
    mine = clone(tmp_path / "mine", "022")
    theirs = clone(tmp_path / "somewhere else" / "längerer Pfad", "077", "core.autocrlf=true", "core.eol=crlf")
    for path in theirs.rglob("*"):
        if ".git" not in path.relative_to(theirs).parts:
            os.utime(path, (1_000_000_000, 1_000_000_000))
    (theirs / "main.py").chmod(0o755)

    first = packed_by_make(mine, LC_ALL="C", TZ="UTC", PYTHONHASHSEED="1")
    second = packed_by_make(theirs, LC_ALL="C.UTF-8", TZ="Asia/Shanghai", PYTHONHASHSEED="2")

    assert sha256(first) == sha256(second)


def test_files_that_are_not_as_committed_are_told_of(plugin: Path) -> None:
    git = [GIT, "-C", str(plugin), "-c", "user.name=Fox", "-c", "user.email=fox@example.com"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "All"]):
        subprocess.run([*git, *command], check=True)
    names = packed_files(plugin)
    assert list(uncommitted(plugin, names)) == []

    (plugin / "main.py").write_text("# changed\n")
    (plugin / "comfybridge" / "new.py").write_text("")

    assert list(uncommitted(plugin, packed_files(plugin))) == ["not as committed: comfybridge/new.py, main.py"]


def test_long_readme_and_large_package_are_advised_against(plugin: Path) -> None:
    (plugin / "README.md").write_text("word " * 501 + "<details>" + "word " * 9 + "</details>")
    with (plugin / "large.bin").open("wb") as large:
        large.truncate(16 * 1024 * 1024)

    assert list(files.advice(plugin, packed_files(plugin))) == [
        "README.md has 501 words, Dify's guide advises about 500",
        "the package holds 17 MB, some Difys take 15",
    ]


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
        "comfybridge/demo.py", "comfybridge/service/", "comfybridge/declared.py", "comfybridge/listing.py",
        "comfybridge/reencoding.py", "comfybridge/validation.py",
    )  # fmt: skip
    assert [name for name in names if name.startswith(unwanted) or "__pycache__" in name] == []


def test_package_ignores_negations_as_difys_packager_does(plugin: Path) -> None:
    (plugin / ".difyignore").write_text("*.log\n!kept.log\n.difyignore\n")
    (plugin / "kept.log").write_text("kept by git, dropped by Dify")

    assert "kept.log" not in packed_files(plugin)


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
