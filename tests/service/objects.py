"""moto as an S3 server in a process that may be killed: it writes down what it is asked for, and begins with that."""

import argparse
import os
import threading
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--recording", type=Path, required=True)
    options = parser.parse_args()
    os.environ["MOTO_RECORDER_FILEPATH"] = str(options.recording)
    # After the variable, which is read as they are imported.
    from moto.moto_api import recorder  # noqa: PLC0415
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    if options.recording.exists():
        inside = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        inside.start()
        host, port = inside.get_host_and_port()
        recorder.replay_recording(f"http://{host}:{port}")
        inside.stop()
    recorder.start_recording()
    ThreadedMotoServer(ip_address="127.0.0.1", port=options.port, verbose=False).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
