"""Call a published Dify app and save the pictures that it makes.

    export DIFY_API_KEY=app-…            # in the app: API Access → API Key
    python call_app.py workflow sentence="a lighthouse in a storm" size=16:9
    python call_app.py chat "a red fox in snow"
    python call_app.py chat "now at night" --conversation 45701982-8118-4bc5-8e9b-64562b4555f2
    python call_app.py chat "make it blue" --file photo.png

Needs Python 3.11 and requests. ``--base`` is the address under "API Access", http://localhost/v1 unless said otherwise.
Answers are streamed; ``--blocking`` waits for the whole answer in one piece, which gateways cut off after a minute or
two. Links to files live for five minutes, so that they are fetched at once.
"""

import argparse
import json
import mimetypes
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests

#: Dify says something every 10 seconds while it streams.
SILENCE_S = 60.0
CONNECT_S = 10.0
_MARKDOWN_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
_ADVICE = {
    "unauthorized": "The key is wrong, or belongs to another app. Take it from the app's page API Access.",
    "app_unavailable": "The app has no published version. Open it and press Publish.",
    "Workflow not published": "Open the app in Dify and press Publish.",
    "not_workflow_app": "This is a chat: call it with chat instead of workflow.",
    "not_chat_app": "This is a workflow: call it with workflow instead of chat.",
    "provider_not_initialize": "The app's language model has no credentials. Choose another model in the app.",
    "only supports streaming": "Leave --blocking out.",
}


class CallError(Exception):
    """The app could not be called, or it failed; the text says what to do."""


@dataclass
class Result:
    """What came back. ``outputs`` are a workflow's; ``files`` are addresses with the names that they were given."""

    text: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    conversation_id: str = ""


class App:
    """One published app. ``user`` is whoever the app's logs shall name; conversations and uploads belong to them."""

    def __init__(self, base: str, key: str, *, user: str = "call_app", timeout_s: float = 600.0) -> None:
        self.base = base.rstrip("/")
        self.user = user
        self.timeout_s = timeout_s
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"

    def workflow(
        self, inputs: Mapping[str, Any], *, streaming: bool = True, said: Callable[[str], object] = str
    ) -> Result:
        """Run a workflow; ``said`` hears texts as they come."""
        if not streaming:
            answer = self._blocking("/workflows/run", {"inputs": inputs})
            return self._finished(answer["data"], Result())
        result = Result()
        for event in self._events("/workflows/run", {"inputs": inputs}):
            match event.get("event"):
                case "text_chunk":
                    said(event["data"]["text"])
                case "workflow_finished":
                    return self._finished(event["data"], result)
        raise CallError("The connection ended before the workflow did. Its run is in the app's logs.")

    def chat(
        self,
        query: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        conversation_id: str = "",
        attached: list[dict[str, str]] | None = None,
        streaming: bool = True,
        said: Callable[[str], object] = str,
    ) -> Result:
        """Say something to a chatflow or an agent; a ``conversation_id`` goes on where that one stopped."""
        body = {"query": query, "inputs": inputs or {}, "conversation_id": conversation_id, "files": attached or []}
        result = Result()
        if not streaming:
            answer = self._blocking("/chat-messages", body)
            result.text, result.conversation_id = answer["answer"], answer["conversation_id"]
            self._collect(result)
            return result
        for event in self._events("/chat-messages", body):
            result.conversation_id = event.get("conversation_id") or result.conversation_id
            match event.get("event"):
                case "message" | "agent_message":
                    result.text += event["answer"]
                    said(event["answer"])
                case "message_replace":
                    result.text = event["answer"]
                case "message_file" if event.get("belongs_to") != "user":
                    self._add(result, event["url"])
                case "workflow_finished":
                    self._finished(event["data"], result)
                case "message_end":
                    self._collect(result, event.get("files"))
                    return result
        raise CallError("The connection ended before the answer did. The conversation goes on in the app's logs.")

    def upload(self, path: Path) -> dict[str, str]:
        """Give Dify a file, and get what an input or a message has in its place."""
        mime_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        with path.open("rb") as file:
            parts = {"file": (path.name, file, mime_type)}
            response = self._post("/files/upload", files=parts, data={"user": self.user})
        kind = mime_type.partition("/")[0]
        return {
            "type": kind if kind in ("image", "audio", "video") else "document",
            "transfer_method": "local_file",
            "upload_file_id": response.json()["id"],
        }

    def save(self, result: Result, folder: Path) -> list[Path]:
        """Fetch the files into a folder; what is there already keeps its name."""
        folder.mkdir(parents=True, exist_ok=True)
        saved = []
        for url, name in result.files.items():
            try:
                # The link is signed: it needs no key, and the key is nobody else's business.
                response = requests.get(url, timeout=(CONNECT_S, SILENCE_S))
            except requests.RequestException as exc:
                raise CallError(f"{name} cannot be fetched from {_host(url)}: {type(exc).__name__}") from exc
            if not response.ok:
                told = "Links live for five minutes, and begin with Dify's FILES_URL, which this computer must reach."
                raise CallError(f"{name}: HTTP {response.status_code} from {_host(url)}. {told}")
            saved.append(_free(folder / name))
            saved[-1].write_bytes(response.content)
        return saved

    def _blocking(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._post(path, json={**body, "response_mode": "blocking", "user": self.user}).json()
        return answer

    def _events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a stream; Dify's ping has no data and is left out."""
        body = {**body, "response_mode": "streaming", "user": self.user}
        with self._post(path, json=body, stream=True) as response:
            try:
                for line in response.iter_lines():
                    if not line.startswith(b"data:"):
                        continue
                    event: dict[str, Any] = json.loads(line.removeprefix(b"data:"))
                    if event.get("event") == "error":
                        raise CallError(_advised(event.get("code", ""), event.get("message", "")))
                    yield event
            except requests.RequestException as exc:
                raise CallError(f"The answer broke off: {type(exc).__name__}") from exc

    def _post(self, path: str, *, stream: bool = False, **arguments: Any) -> requests.Response:
        waits = SILENCE_S if stream else self.timeout_s
        try:
            response = self._session.post(self.base + path, timeout=(CONNECT_S, waits), stream=stream, **arguments)
        except requests.Timeout as exc:
            raise CallError(f"No answer from {_host(self.base)} within {waits:g} s: stream instead?") from exc
        except requests.RequestException as exc:
            raise CallError(f"{_host(self.base)} cannot be reached: {type(exc).__name__}") from exc
        if response.ok:
            return response
        try:
            error = response.json()
        except requests.JSONDecodeError:
            hint = (
                "a gateway gave up waiting: stream instead"
                if response.status_code in (502, 504, 524)
                else "no Dify API"
            )
            raise CallError(f"HTTP {response.status_code} from {self.base}{path}: {hint}.") from None
        raise CallError(_advised(error.get("code", ""), error.get("message", "")) + f" (HTTP {response.status_code})")

    def _finished(self, data: Mapping[str, Any], result: Result) -> Result:
        if data["status"] not in ("succeeded", "partial-succeeded"):
            raise CallError(f"The app {data['status']}: {data.get('error') or 'it says no reason'}")
        result.outputs = dict(data.get("outputs") or {})
        self._collect(result, result.outputs)
        return result

    def _collect(self, result: Result, *places: Any) -> None:
        for file in (file for place in places for file in _files(place)):
            self._add(result, file["url"], file.get("filename"))
        for url in _MARKDOWN_PICTURE.findall(result.text):
            self._add(result, url)

    def _add(self, result: Result, address: str, name: str | None = None) -> None:
        """Note a file once, though several events speak of it, each with a signature of its own."""
        url = urljoin(f"{self.base}/", address)
        path = urlsplit(url).path
        known = {urlsplit(other).path: other for other in result.files}
        if path not in known:
            result.files[url] = PurePosixPath(unquote(name or path)).name or "file"
        elif name:
            result.files[known[path]] = PurePosixPath(name).name


def _files(place: Any) -> Iterator[dict[str, Any]]:
    """Dify's file objects, however deep they lie in outputs."""
    match place:
        case {"dify_model_identity": "__dify__file__", "url": str()}:
            yield place
        case dict():
            yield from (file for value in place.values() for file in _files(value))
        case list():
            yield from (file for value in place for file in _files(value))


def _advised(code: str, message: str) -> str:
    for sign, advice in _ADVICE.items():
        if sign == code or sign in message:
            return f"{message} {advice}"
    return message or code or "Dify says no reason."


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _free(path: Path) -> Path:
    number = 1
    taken = path
    while taken.exists():
        number += 1
        taken = path.with_stem(f"{path.stem}-{number}")
    return taken


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Call a published Dify app and save the pictures that it makes.")
    parser.add_argument("kind", choices=("workflow", "chat"), help="chat: a chatflow or an agent")
    parser.add_argument("words", nargs="*", help="workflow: name=value …; chat: what you say, then name=value …")
    parser.add_argument("--base", default=os.environ.get("DIFY_BASE_URL", "http://localhost/v1"))
    parser.add_argument("--key", default=os.environ.get("DIFY_API_KEY", ""), help="or the environment's DIFY_API_KEY")
    parser.add_argument("--file", action="append", default=[], help="workflow: input=path; chat: path")
    parser.add_argument("--conversation", default="", help="go on with an earlier conversation")
    parser.add_argument("--user", default="call_app")
    parser.add_argument("--blocking", action="store_true", help="wait for the whole answer in one piece")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for --blocking")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="the folder for the files")
    return parser


def _call(options: argparse.Namespace) -> Result:
    if not options.key:
        raise CallError("No key: set DIFY_API_KEY, or give --key.")
    app = App(options.base, options.key, user=options.user, timeout_s=options.timeout)
    query = options.words.pop(0) if options.kind == "chat" and options.words else ""
    if options.kind == "chat" and not query:
        raise CallError("Say something.")
    inputs: dict[str, Any] = {}
    for word in options.words:
        name, sign, value = word.partition("=")
        if not sign:
            raise CallError(f"{word!r} is no name=value.")
        inputs[name] = value
    attached = []
    for given in options.file:
        name, sign, path = given.partition("=") if options.kind == "workflow" else ("", "=", given)
        if not sign or not Path(path).is_file():
            raise CallError(f"There is no file {path or given}." if sign else f"{given!r} is no input=path.")
        uploaded = app.upload(Path(path))
        if options.kind == "workflow":
            inputs[name] = uploaded
        else:
            attached.append(uploaded)

    def said(text: str) -> None:
        print(text, end="", flush=True)

    streaming = not options.blocking
    if options.kind == "workflow":
        result = app.workflow(inputs, streaming=streaming, said=said)
        texts = {name: value for name, value in result.outputs.items() if not list(_files(value))}
        print("".join(f"{name}: {value}\n" for name, value in texts.items()), end="")
    else:
        more = {"conversation_id": options.conversation, "attached": attached}
        result = app.chat(query, inputs=inputs, **more, streaming=streaming, said=said)
        print("" if streaming else result.text)
        print(f"conversation: {result.conversation_id}")
    for path in app.save(result, options.out):
        print(path)
    return result


def main(arguments: list[str] | None = None) -> int:
    try:
        _call(_arguments().parse_args(arguments))
    except CallError as exc:
        print(f"call_app: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
