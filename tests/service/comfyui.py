"""A simulator as a process that may be killed: its folder stays, as that of a ComfyUI does."""

import argparse
import threading
from pathlib import Path

from comfybridge.simulator import Simulator


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", type=float, default=0.0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with Simulator(port=options.port, folder=options.folder, work=options.work):
        threading.Event().wait()


if __name__ == "__main__":
    main()
