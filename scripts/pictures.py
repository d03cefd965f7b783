# ruff: noqa: INP001 (a script; the folder is no package)
"""Make the pictures of the documentation: docs/pictures/tool-<name>.webp and docs/pictures/app-<name>.webp.

The tools' are made by calls of the plugin's own process on the simulator, so that what they show is what comes back but
for the painting: those are the simulator's test cards. The apps' are drawn from the files in examples/.
``python -m scripts.pictures``
"""

import array
import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw

from comfybridge import library
from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer, File
from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.simulator.dify_files import DifyFiles
from scripts import app_pictures
from scripts.drawing import ACCENT, INK, LINE, MUTED, PAPER, TILE, fit, text, width_of

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 60 * 1000
WIDTH, HEIGHT, PAD = 960, 300, 20
THUMB = 190
#: Each tool's call, in the order of the guide. ``PHOTO`` and ``MASK`` are files that a user attaches, ``EARLIER`` is the
#: prompt_id of the first call.
PHOTO, MASK, EARLIER = "photo.png", "mask.png", "prompt_id of an earlier picture"
CALLS: dict[str, dict[str, Any]] = {
    "text2image": {"prompt": "a red fox in snow, photograph", "size": "3:2", "seed": 42},
    "image2image": {"prompt": "make the coat blue", "images": [PHOTO], "seed": 7},
    "inpaint": {"prompt": "a wooden door", "image": PHOTO, "mask": MASK, "seed": 7},
    "upscale": {"image": PHOTO, "scale": 2},
    "run_workflow": {"workflow": "sdxl-hires", "prompt": "暴风雨中的灯塔", "values": "步数=20"},
    "text2video": {"prompt": "a fox runs through snow", "seconds": 2, "seed": 5},
    "image2video": {"prompt": "the camera moves in", "image": PHOTO, "seconds": 2, "seed": 5},
    "text2audio": {"prompt": "rain on a tin roof", "seconds": 4, "seed": 3},
    "get_result": {"prompt_id": EARLIER},
    "cancel_job": {"prompt_id": EARLIER},
    "server_info": {"show": "summary"},
}


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, picture in (*tool_pictures(), *app_pictures.pictures(ROOT / "examples")):
        save(picture, PICTURES / f"{name}.webp")


def save(picture: Image.Image, path: Path) -> None:
    """As WebP, with the highest quality that keeps it small."""
    for quality in (88, 80, 70, 60, 50, 40):
        data = io.BytesIO()
        picture.save(data, "WEBP", quality=quality, method=6)
        if len(data.getvalue()) <= MOST_BYTES:
            path.write_bytes(data.getvalue())
            return
    raise ValueError(f"{path.name} does not fit into {MOST_BYTES} bytes")


def tool_pictures() -> Iterator[tuple[str, Image.Image]]:
    """Call each tool in Dify's way and draw what went in and what came out."""
    photo, mask = inputs()
    models = {folder: sorted(files) for folder, files in _models().items()}
    with ExitStack() as stack:
        files = stack.enter_context(DifyFiles())
        comfyui = stack.enter_context(Simulator(models=models))
        daemon = stack.enter_context(PluginDaemon(ROOT, reverse={"upload_file": files.sign}))
        attached = {
            name: files.offer(_png(picture), name, "image/png") for name, picture in ((PHOTO, photo), (MASK, mask))
        }
        earlier = ""
        for tool, call in CALLS.items():
            sent = {name: _filled(value, attached, earlier) for name, value in call.items()}
            answer = daemon.call_tool("comfyui", tool, sent, credentials={"base_url": comfyui.url})
            earlier = earlier or str(answer.variables["prompt_id"])
            given = [each for name, each in ((PHOTO, photo), (MASK, mask)) if name in str(call)]
            yield f"tool-{tool}", card(tool, call, given, answer)


def card(tool: str, call: Mapping[str, Any], given: list[Image.Image], answer: Answer) -> Image.Image:
    """The call to the left, what came back to the right."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    half = WIDTH // 2 - 24
    draw.rounded_rectangle((4, 4, half, HEIGHT - 5), 12, fill=TILE, outline=LINE)
    text(draw, (PAD, 14), tool, 20, ACCENT)
    y = 50
    for name, value in call.items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        text(draw, (PAD, y), fit(f"{name}: {shown}", 15, half - 2 * PAD), 15, INK)
        y += 25
    room = HEIGHT - y - PAD
    x = PAD
    for each in given:
        small = each.copy()
        small.thumbnail((150, room))
        picture.paste(small, (x, y + 6))
        x += small.width + 12

    middle = HEIGHT // 2
    draw.line((half + 8, middle, half + 34, middle), fill=ACCENT, width=4)
    draw.polygon(((half + 34, middle - 8), (half + 34, middle + 8), (half + 44, middle)), fill=ACCENT)

    left = half + 54
    draw.rounded_rectangle((left, 4, WIDTH - 5, HEIGHT - 5), 12, fill=TILE, outline=LINE)
    lines = [line for line in _wrapped(answer.text, 14, WIDTH - left - 2 * PAD)][: 9 if not answer.files else 2]
    y = 16
    for line in lines:
        text(draw, (left + 16, y), line, 14, INK if not answer.files else MUTED)
        y += 22
    x = left + 16
    for thumb in shown_files(answer.files, WIDTH - left - 40, HEIGHT - y - 24):
        picture.paste(thumb, (x, y + 8))
        x += thumb.width + 10
    return picture


def shown_files(files: list[File], width: int, height: int) -> Iterator[Image.Image]:
    """Pictures as they are, three frames of a video, the wave of a sound."""
    for file in files[:2]:
        if file.mime_type.startswith("image/"):
            image = Image.open(io.BytesIO(file.data)).convert("RGB")
            image.thumbnail((width // len(files[:2]), height))
            yield image
        elif file.mime_type.startswith("video/"):
            with av.open(io.BytesIO(file.data)) as container:
                frames = [frame.to_image() for frame in container.decode(video=0)]
            for frame in (frames[0], frames[len(frames) // 2], frames[-1]):
                frame.thumbnail((width // 3 - 10, height))
                yield frame
        else:
            yield _wave(file.data, width, min(height, 140))


def inputs() -> tuple[Image.Image, Image.Image]:
    """What a user attaches: a plain picture, and a mask that leaves its middle to be painted."""
    size = (768, 512)
    photo = Image.new("RGB", size, "#BFDBFE")
    draw = ImageDraw.Draw(photo)
    draw.rectangle((0, 360, *size), fill="#86A873")
    draw.rectangle((250, 170, 520, 420), fill="#E8D8B4")
    draw.polygon(((225, 170), (385, 70), (545, 170)), fill="#B4593D")
    draw.rectangle((350, 290, 420, 420), fill="#5B4636")
    draw.ellipse((610, 60, 690, 140), fill="#FDE68A")
    mask = Image.new("RGB", size, "black")
    ImageDraw.Draw(mask).rectangle((335, 275, 435, 430), fill="white")
    return photo, mask


def _wave(data: bytes, width: int, height: int) -> Image.Image:
    with av.open(io.BytesIO(data)) as container:
        plain = av.AudioResampler(format="s16", layout="mono")
        pieces = [bytes(mono.planes[0]) for frame in container.decode(audio=0) for mono in plain.resample(frame)]
    samples = array.array("h", b"".join(pieces))[::64]
    loudest = max(map(abs, samples)) or 1
    picture = Image.new("RGB", (width, height), TILE)
    draw = ImageDraw.Draw(picture)
    for x in range(width):
        part = samples[x * len(samples) // width : max((x + 1) * len(samples) // width, x * len(samples) // width + 1)]
        reach = max(map(abs, part)) / loudest * (height / 2 - 4)
        draw.line((x, height / 2 - reach, x, height / 2 + reach), fill=ACCENT)
    return picture


def _wrapped(said: str, size: int, width: int) -> Iterator[str]:
    for line in said.splitlines():
        kept = ""
        for word in line.split(" "):
            if kept and width_of(f"{kept} {word}", size) > width:
                yield kept
                kept = word
            else:
                kept = f"{kept} {word}".strip()
        yield kept


def _filled(value: Any, attached: Mapping[str, Any], earlier: str) -> Any:
    if isinstance(value, list):
        return [_filled(each, attached, earlier) for each in value]
    return earlier if value == EARLIER else attached.get(str(value), value)


def _models() -> dict[str, set[str]]:
    """Every file that a template needs, by its folder."""
    found: dict[str, set[str]] = {}
    for required in (required for template in library.templates() for required in template.requires):
        found.setdefault(required.folder, set()).add(required.file)
    return found


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


if __name__ == "__main__":
    main()
