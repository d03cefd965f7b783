"""Measure the plugin beside a floor: ``python -m bench [--json FILE]``; COMFYUI_URL names a real server to do it on."""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from bench.plugins import CallError
from bench.run import Run
from bench.table import Section, as_json, as_text

_NOTES = """\
Method
  Ours is this checkout, run as Dify's daemon runs it: python -m main, JSON lines over stdio. The process that measures
  plays the daemon; the server is a third process. All share this machine.
  The floor is a plugin on the same SDK with one tool: kept http.client connections, one WebSocket for all calls, POST
  /prompt of the very graph that ours sent, executing(null), GET /history/{id}, GET /view, and then the same messages to
  Dify. No template, no checks, no retries. Bare is a plugin whose one tool is empty.
  On a simulator ours is called with Dify's defaults (template auto) for 512x512 pixels; on COMFYUI_URL with sd15, 64x64
  and one step. Every picture has a new seed, so that none comes out of the server's cache.
  Both take turns (A B B A, with the same seeds), after a warm-up. "95 %" is the interval of the ratio of medians, by
  bootstrap: where the aim lies in it, another run may well say the opposite.
  Added time is how long the daemon's side waits for a call, less the server's own time from execution_start to
  execution_success by its own clock, in milliseconds; on a simulator that is its seconds of work and the painting.
  Requests and bytes are counted by a relay between plugin and server, in passes that are not timed: with HTTP heads and
  frames' heads, but without the handshakes of WebSockets, which are counted by themselves.
  Memory is resident memory; its peak is the kernel's (VmHWM) where it keeps one, else the highest of 20 looks a second.
  The large pictures are of grain, 9 MiB each as PNG, handed over by one call of ours; the floor has no part in it.
  Batches are made by the command, a process of its own: 64x64 pixels by sd15 with its 20 steps. One server has the same
  rows as several. Processor time is that of the whole process with its start, per row; memory begins at row 100.
  Conversion is timed once over all recorded workflows, with the node definitions loaded.
  Start is from exec to the first heartbeat, with the compiled files in place."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    url = os.environ.get("COMFYUI_URL", "").rstrip("/")
    if url and urlsplit(url).scheme != "http":
        parser.error("COMFYUI_URL must begin with http://: the relay that counts does not speak TLS")
    # As by an error, so that the processes it started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    started = time.monotonic()
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="comfybridge-bench-") as folder:
        run = Run(Path(folder))
        try:
            for section in run.on(url) if url else run.on_simulators():
                print(f"{time.monotonic() - started:4.0f} s  {section.title}", file=sys.stderr)
                sections.append(section)
        except CallError as exc:
            run.errors.append(str(exc))
    facts = {
        "server": url or "the simulator",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "dify_plugin": version("dify_plugin"),
        "took": f"{time.monotonic() - started:.0f} s",
    }
    if sections:
        print(as_text(sections))
    print("\n" + "; ".join(f"{name} {value}" for name, value in facts.items()) + "\n\n" + _NOTES)
    for error in run.errors:
        print(f"Error: {error}", file=sys.stderr)
    if options.json:
        report = {**facts, "figures": as_json(sections), "errors": run.errors}
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if run.errors else 0


if __name__ == "__main__":
    sys.exit(main())
