# ruff: noqa: INP001 (a script; the folder is no package)
"""Do with the package what Dify's marketplace does before it lists one: install it alone and start it serverless.

The package is unpacked, its requirements.txt installed by pip into an empty environment of this Python, and the plugin
started from there with nothing else on its path. It has to answer ``/health``, a picture and a question by ``/invoke``.
``python -m scripts.release_check [PACKAGE]``; without one it packs this checkout.
"""

import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

from comfybridge.simulator import Simulator
from comfybridge.simulator.serverless import ServerlessPlugin
from scripts.package import PackageError, pack

#: That of Dify's runtime and of the marketplace's check.
PYTHON = (3, 12)
PNG = b"\x89PNG\r\n\x1a\n"


def main() -> None:
    if sys.version_info[:2] != PYTHON:
        sys.exit(f"Dify runs plugins on Python 3.12; this is {sys.version_info[0]}.{sys.version_info[1]}.")
    with tempfile.TemporaryDirectory(prefix="comfybridge-release-") as folder:
        try:
            package = Path(sys.argv[1]) if len(sys.argv) > 1 else pack(Path(__file__).parents[1], Path(folder))
        except PackageError as error:
            sys.exit(str(error))
        check(package, Path(folder))


def check(package: Path, folder: Path) -> None:
    """Install and start the package in ``folder``; ends the process in words where something fails."""
    plugin, environment = folder / "plugin", folder / "venv"
    zipfile.ZipFile(package).extractall(plugin)

    began = time.monotonic()
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    requirements = str(plugin / "requirements.txt")
    subprocess.run([*pip, "install", "--quiet", "-r", requirements], check=True, env=own)  # noqa: S603 (what was packed)
    subprocess.run([*pip, "check", "--quiet"], check=True, env=own)  # noqa: S603 (the same)
    say("requirements.txt installs", began)

    with Simulator() as comfyui, ServerlessPlugin(plugin, python=python, env={"PYTHONPATH": None}) as process:
        say("starts serverless, /health says OK", time.monotonic() - process.started_s)
        credentials = {"base_url": comfyui.url}
        began = time.monotonic()
        answer = process.call_tool("comfyui", "text2image", {"prompt": "a red fox"}, credentials=credentials)
        if not (len(answer.files) == 1 and answer.files[0].data.startswith(PNG)):
            sys.exit(f"text2image gave no picture: {answer.text}")
        say(f"text2image: {answer.text}", began)
        began = time.monotonic()
        told = process.call_tool("comfyui", "server_info", {}, credentials=credentials)
        if "ComfyUI" not in told.text:
            sys.exit(f"server_info told nothing of the server: {told.text}")
        say(f"server_info: {told.text.splitlines()[0]}", began)


def say(what: str, since: float) -> None:
    sys.stdout.write(f"{time.monotonic() - since:5.1f} s  {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
