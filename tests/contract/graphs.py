"""Graphs that need no model. Each call makes one that no cache has seen."""

import random
import uuid

from tests.contract.server import Prompt


def unique() -> str:
    return uuid.uuid4().hex[:12]


def solid(prefix: str | None = None, *, color: int | None = None, batch_size: int = 1) -> Prompt:
    """EmptyImage -> SaveImage, nodes 1 and 2."""
    inputs = {"width": 32, "height": 24, "batch_size": batch_size, "color": any_color() if color is None else color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": save("1", prefix),
    }


def save(source: str, prefix: str | None = None) -> Prompt:
    inputs = {"filename_prefix": prefix or f"contract-{unique()}", "images": [source, 0]}
    return {"class_type": "SaveImage", "inputs": inputs}


def long(links: int = 60) -> Prompt:
    """A chain of rescalings that keeps a server busy; an interrupt takes effect between two of them."""
    prompt = solid()
    prompt["1"]["inputs"].update(width=900, height=900)
    source = "1"
    for number in range(links):
        side = 900 + (number + 1) % 2
        inputs = {
            "image": [source, 0],
            "upscale_method": "lanczos",
            "width": side,
            "height": side,
            "crop": "disabled",
        }
        source = str(100 + number)
        prompt[source] = {"class_type": "ImageScale", "inputs": inputs}
    prompt["2"]["inputs"]["images"] = [source, 0]
    return prompt


def any_color() -> int:
    return random.randrange(1 << 24)  # noqa: S311  (a colour, not a secret)
