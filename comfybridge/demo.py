"""Generate one picture the way Dify does: the plugin's own process, driven over stdio, on a ComfyUI or its simulator.

``python -m comfybridge.demo "a prompt"``; ``COMFYUI_URL`` names a real ComfyUI. Pictures go to ``out/``.
"""

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, TextIO

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer, File, Message
from comfybridge.simulator.daemon import PluginDaemon, PluginDiedError, PluginError
from comfybridge.simulator.dify_files import DifyFiles

PROMPT = "a red fox in fresh snow, morning light, 雪地里的红狐，晨光"
#: Long enough to see the progress move.
SIMULATED_WORK_S = 2.0
PLUGIN = Path(__file__).resolve().parents[1]
OUT = Path("out")
#: Columns before the text of a line.
INDENT = 13


class Terminal:
    """Lines for people: progress on one line that changes in a terminal, a line each in a pipe; NO_COLOR is heeded."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._moves = stream.isatty() and environ.get("TERM") != "dumb"
        self._colours = self._moves and not environ.get("NO_COLOR")
        self._progress = ""

    def say(self, label: str, text: str, *, colour: int = 36) -> None:
        """Print ``label   text``, further lines of the text under its first; ``colour`` is the label's ANSI number."""
        self._clear()
        head = f"{label:<{INDENT}}"
        if self._colours:
            head = f"\x1b[{colour}m{head}\x1b[0m"
        self._write(head + f"\n{'':{INDENT}}".join(text.splitlines()) + "\n")

    def progress(self, text: str) -> None:
        if not text or text == self._progress:
            return
        self._clear()
        self._write(f"{'':{INDENT}}{text}" + ("" if self._moves else "\n"))
        self._progress = text

    def _clear(self) -> None:
        if self._moves and self._progress:
            self._write("\r\x1b[2K")
        self._progress = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def main(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console without Chinese shows its code points
    terminal = Terminal(sys.stdout, os.environ)
    prompt = " ".join(arguments) if any(word.strip() for word in arguments) else PROMPT
    try:
        return _demo(prompt, terminal)
    except PluginError as error:
        terminal.say("Error", error.message, colour=31)
    except (PluginDiedError, TimeoutError) as error:
        terminal.say("Error", str(error), colour=31)
    except KeyboardInterrupt:
        terminal.say("Stopped", "by you")
        return 130
    return 1


def _demo(prompt: str, terminal: Terminal) -> int:
    terminal.say("Prompt", prompt)
    with _comfyui(terminal) as url, DifyFiles() as files:
        with PluginDaemon(PLUGIN, reverse={"upload_file": files.sign}) as daemon:
            started = f"{daemon.manifest['name']} {daemon.manifest['version']}, up in {daemon.heartbeats[0]:.1f} s"
            terminal.say("Dify plugin", started)
            credentials = {"base_url": url}
            daemon.validate_credentials("comfyui", credentials)
            terminal.say("Credentials", "accepted: the plugin reached the server")

            begun = time.monotonic()
            # A real server may be slow, a CPU or a first load: wait as long as the tool can.
            parameters = {"prompt": prompt, "output": "both", "progress": True, "timeout": 570}
            messages: list[Message] = []
            for message in daemon.stream_tool("comfyui", "text2image", parameters, credentials=credentials):
                if message.type == "variable" and message.message["variable_name"] == "progress":
                    terminal.progress(str(message.message["variable_value"]).strip())
                messages.append(message)
        _report(Answer(tuple(messages)), time.monotonic() - begun, terminal)
    if not os.environ.get("COMFYUI_URL"):
        terminal.say("Note", "the picture is the simulator's test card; no diffusion model ran.")
        again = f"make demo COMFYUI_URL=http://127.0.0.1:8188 PROMPT={shlex.quote(prompt)}"
        terminal.say("For real", f"start ComfyUI, then: {again}")
    return 0


@contextmanager
def _comfyui(terminal: Terminal) -> Iterator[str]:
    """Give the address of the server to use: the one of COMFYUI_URL, else a simulator that lives as long."""
    if url := os.environ.get("COMFYUI_URL"):
        terminal.say("ComfyUI", url)
        yield url
        return
    with Simulator(work=SIMULATED_WORK_S) as comfyui:
        terminal.say("ComfyUI", f"{comfyui.url} (simulated; COMFYUI_URL names a real one)")
        yield comfyui.url


def _report(answer: Answer, seconds: float, terminal: Terminal) -> None:
    variables = answer.variables
    for file in answer.files:
        path = _save(file)
        terminal.say("Picture", f"{path} ({file.mime_type}, {len(file.data) / 1024:.0f} KiB)", colour=32)
    terminal.say("Made", _facts(variables) + f", {seconds:.1f} s")
    terminal.say("Dify shows", answer.text)


def _facts(variables: Mapping[str, Any]) -> str:
    size = f"{variables.get('width', '?')}×{variables.get('height', '?')}"
    named = [f"{name} {variables[name]}" for name in ("seed", "template", "model") if name in variables]
    return ", ".join([size, *named])


def _save(file: File) -> Path:
    """Write the picture under its own name, beside and never over those of earlier runs."""
    OUT.mkdir(exist_ok=True)
    name = PurePath(file.filename).name or "picture"
    path = OUT / name
    number = 2
    while path.exists():
        path = OUT / f"{PurePath(name).stem}-{number}{PurePath(name).suffix}"
        number += 1
    path.write_bytes(file.data)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
