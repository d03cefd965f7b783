"""A ComfyUI as seen over the wire, with nothing but requests and websocket-client."""

import json
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import requests
import websocket

Frame = dict[str, Any]
Prompt = dict[str, Any]
Found = TypeVar("Found")
DEADLINE_S = 60.0


class Server:
    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._session = requests.Session()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        self._session.close()

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, self.url + path, timeout=DEADLINE_S, **options)

    def submit(self, prompt: Prompt, **fields: Any) -> str:
        """Queue a prompt that must be accepted; return its prompt_id."""
        answer = self.post("/prompt", json={"prompt": prompt, **fields})
        assert answer.status_code == 200, answer.text
        prompt_id: str = answer.json()["prompt_id"]
        return prompt_id

    def reject(self, prompt: Any, **fields: Any) -> Frame:
        """Post a prompt that must be refused; return the body of the 400."""
        answer = self.post("/prompt", json={"prompt": prompt, **fields})
        assert answer.status_code == 400, answer.text
        body: Frame = answer.json()
        return body

    def history(self, prompt_id: str) -> Frame | None:
        """Fetch a history entry; ``None`` for ComfyUI's ``{}``."""
        entry: Frame | None = self.get(f"/history/{prompt_id}").json().get(prompt_id)
        return entry

    def finished(self, prompt_id: str) -> Frame:
        return eventually(lambda: self.history(prompt_id))

    def run(self, prompt: Prompt, **fields: Any) -> Frame:
        """Run a prompt to its end; return its history entry."""
        return self.finished(self.submit(prompt, **fields))

    def queued(self) -> tuple[list[str], list[str]]:
        """List the prompt_ids that run and that wait, first one first."""
        queue = self.get("/queue").json()
        pending = sorted(queue["queue_pending"], key=lambda item: item[:2])
        return [item[1] for item in queue["queue_running"]], [item[1] for item in pending]

    def connect(self, client_id: str | None = None) -> "Socket":
        return Socket(self.url, uuid.uuid4().hex if client_id is None else client_id, self._key)

    def upload(self, name: str, content: bytes, path: str = "/upload/image", **fields: str) -> requests.Response:
        """Upload with the file name as raw UTF-8, as browsers do."""
        boundary = uuid.uuid4().hex
        parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{fields[key]}' for key in fields]
        disposition = f'form-data; name="image"; filename="{name}"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n"
        text = "".join(part + "\r\n" for part in parts) + head
        body = text.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return self.post(path, data=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})


class Socket:
    """An open WebSocket. ``client_id`` empty: the server names one."""

    def __init__(self, url: str, client_id: str, key: str = "") -> None:
        self.client_id = client_id
        token = f"&token={key}" if key else ""
        address = f"{url.replace('http', 'ws', 1)}/ws?clientId={client_id}{token}"
        self._socket = websocket.create_connection(address, timeout=DEADLINE_S, suppress_origin=True)
        self.hello = self.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close, and wait until the server has closed, too."""
        self._socket.close(timeout=5)

    def send(self, text: str) -> None:
        self._socket.send(text)

    def receive(self) -> Any:
        """Return the next event, or the bytes of a binary frame."""
        received = self._socket.recv()
        return received if isinstance(received, bytes) else json.loads(received)

    def until(self, is_last: Callable[[Frame], object]) -> list[Any]:
        """Read until an event for which ``is_last`` holds, that one included."""
        frames = []
        while True:
            frames.append(self.receive())
            if isinstance(frames[-1], dict) and is_last(frames[-1]):
                return frames

    def to_the_end(self, prompt_id: str) -> list[Any]:
        """Read until ``executing`` says that a prompt is over."""
        return self.until(
            lambda frame: (
                frame["type"] == "executing"
                and frame["data"]["node"] is None
                and frame["data"].get("prompt_id") == prompt_id
            )
        )

    def so_far(self) -> list[Any]:
        """Read what was sent until now: a pong comes after all of it."""
        self._socket.ping()
        frames: list[Any] = []
        while True:
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_PONG:
                return frames
            frames.append(frame.data if opcode == websocket.ABNF.OPCODE_BINARY else json.loads(frame.data))


def eventually(look: Callable[[], Found | None]) -> Found:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, "nothing to see within the deadline"
        time.sleep(0.005)


def kinds(frames: list[Any]) -> list[str]:
    """Name the events, without ``progress_state``, which comes around everything."""
    return [frame["type"] for frame in frames if isinstance(frame, dict) and frame["type"] != "progress_state"]
