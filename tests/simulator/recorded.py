"""Recordings of a real ComfyUI 0.8.0, read so that they can be compared with what the simulator does."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "recordings"
MODELS = {
    "checkpoints": ["lab_sd15_random_fp16.safetensors", "lab_sd15_small.safetensors"],
    "loras": ["lab_tiny_lora.safetensors"],
    "vae": ["ae.safetensors"],
    "text_encoders": ["qwen_3_4b.safetensors"],
    "diffusion_models": ["z_image_turbo_bf16.safetensors"],
    "upscale_models": ["lab_4x_tiny_esrgan.safetensors"],
    "embeddings": ["lab_embed.safetensors"],
}
"""What the recorded server had."""
UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
TEMPORARY = re.compile(r"ComfyUI_temp_[a-z]{5}")
COUNTED = re.compile(r"[\w-]+_\d{5}_")
VARYING = ("timestamp", "create_time", "execution_start_time", "execution_end_time", "number", "priority")
UNLIKE = ("traceback", "exception_message", "exception_type")
"""What only has to be there: the simulator's own code raises otherwise than torch's."""


@dataclass(frozen=True)
class Exchange:
    label: str
    method: str
    path: str
    headers: dict[str, str] | None
    body: Any
    status: int
    answer_headers: dict[str, str]
    answer: Any


class Recording:
    def __init__(self, name: str) -> None:
        self._events = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["events"]

    def exchanges(self) -> Iterator[Exchange]:
        for event in self._events:
            if event["kind"] == "http":
                asked, told = event["request"], event["response"]
                yield Exchange(
                    event["label"] or "",
                    asked["method"],
                    asked["path"],
                    asked["headers"],
                    asked["body"],
                    told["status"],
                    told["headers"],
                    told["body"],
                )

    def prompts(self) -> list[Exchange]:
        """The prompts that were accepted, in the order they were posted."""
        return [
            exchange for exchange in self.exchanges() if exchange.path == "/prompt" and exchange.method == "POST"
            if exchange.status == 200
        ]  # fmt: skip

    def frames(self, client_id: str, prompt_id: str) -> list[Any]:
        """What a client was told about a prompt; binary frames as their head."""
        connection = next(
            event["conn"]
            for event in self._events
            if event["kind"] == "ws_open" and event["url"].endswith(f"clientId={client_id}")
        )
        frames: list[Any] = []
        is_ours = False
        for event in self._events:
            if event["kind"] != "ws_in" or event["conn"] != connection:
                continue
            text = event.get("text")
            if text is None:
                if is_ours:
                    head = event["binary"]
                    frames.append(
                        {name: head[name] for name in ("event_type", "image_type", "metadata") if name in head}
                    )
            elif text["data"].get("prompt_id") == prompt_id:
                frames.append(text)
                is_ours = text["type"] != "executing" or text["data"]["node"] is not None
        return frames


def head(frame: bytes) -> dict[str, Any]:
    """Describe a binary frame as the recordings do."""
    event_type, number = (int.from_bytes(frame[at : at + 4], "big") for at in (0, 4))
    if event_type == 4:
        return {"event_type": 4, "metadata": json.loads(frame[8 : 8 + number])}
    return {"event_type": event_type, "image_type": number}


def normalised(value: Any) -> Any:
    """Replace what differs from run to run: ids and file names by their order of appearance, times by zero."""
    text = json.dumps(_levelled(value), ensure_ascii=False)
    text = TEMPORARY.sub("ComfyUI_temp_x", text)
    seen: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        return seen.setdefault(match[0], f"<{len(seen)}>")

    return json.loads(COUNTED.sub(named, UUID.sub(named, text)))


def _levelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _level(name, item) for name, item in value.items()}
    return [_levelled(item) for item in value] if isinstance(value, list) else value


def _level(name: str, value: Any) -> Any:
    if name in VARYING:
        return 0
    if name in UNLIKE:
        return "told"
    if name in ("executed", "nodes", "current_outputs") and isinstance(value, list):
        return sorted(value)  # ComfyUI takes these out of sets
    if name == "current_inputs" and isinstance(value, dict):
        return sorted(value)
    if name == "prompt" and isinstance(value, list) and isinstance(value[0], int | float):
        return [0, *_levelled(value[1:])]
    return _levelled(value)


def shape(value: Any) -> Any:
    """Keep the keys and the types."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__
