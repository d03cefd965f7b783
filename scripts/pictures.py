# ruff: noqa: INP001 (a script; the folder is no package)
"""Make the pictures of the documentation: docs/pictures/tool-<name>.webp and docs/pictures/app-<name>.webp.

The tools' are made by calls of the plugin's own process on the simulator, so that what they show is what comes back but
for the painting, which is the simulator's test cards, and the time. The apps' are drawn from the files in examples/.
``python -m scripts.pictures``
"""

import array
import io
import re
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
WIDTH, PAD = 960, 20
THUMB = (150, 100)
HIGHEST = 230
#: Each tool's call, in the order of the guide. ``PHOTO`` and ``MASK`` are what a user attaches, ``EARLIER`` stands for
#: the prompt_id of the first call.
PHOTO, MASK, EARLIER = "photo.png", "mask.png", "<that of an earlier call>"
CALLS: dict[str, dict[str, Any]] = {
    "text2image": {"prompt": "a red fox in snow, photograph", "size": "3:2", "seed": 42},
    "image2image": {"prompt": "make the roof blue", "images": [PHOTO], "seed": 7},
    "inpaint": {"prompt": "a wooden door", "image": PHOTO, "mask": MASK, "seed": 7},
    "upscale": {"image": PHOTO, "scale": 2},
    "run_workflow": {"workflow": "sdxl-hires", "prompt": "暴风雨中的灯塔", "values": "步数=20", "seed": 9},
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
            credentials = {"base_url": comfyui.url}
            if tool == "cancel_job":
                comfyui.hold()
                queued = daemon.call_tool(
                    "comfyui", "text2image", CALLS["text2image"] | {"wait": False}, credentials=credentials
                )
                sent = {"prompt_id": queued.variables["prompt_id"]}
            answer = daemon.call_tool("comfyui", tool, sent, credentials=credentials)
            earlier = earlier or str(answer.variables["prompt_id"])
            given = [each for name, each in ((PHOTO, photo), (MASK, mask)) if name in str(call)]
            yield f"tool-{tool}", card(tool, call, given, answer)


def card(tool: str, call: Mapping[str, Any], given: list[Image.Image], answer: Answer) -> Image.Image:
    """The call to the left, what came back to the right."""
    half = WIDTH // 2 - 24
    left = half + 54
    parameters = [f"{name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in call.items()]
    # Without the seconds, which are others each time.
    told = re.sub(r", [\d.]+ s\.", ".", answer.text)
    said = list(_wrapped(told, 14, WIDTH - left - 2 * PAD))[: 2 if answer.files else 10]
    thumbs = list(shown_files(answer.files, WIDTH - left - 44))
    small = [_small(each) for each in given]
    height = max(
        50 + 25 * len(parameters) + max((each.height + 6 for each in small), default=0) + PAD,
        16 + 22 * len(said) + max((each.height + 8 for each in thumbs), default=0) + PAD,
    )
    picture = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((4, 4, half, height - 5), 12, fill=TILE, outline=LINE)
    text(draw, (PAD, 10), tool, 20, ACCENT)
    for number, parameter in enumerate(parameters):
        text(draw, (PAD, 46 + 25 * number), fit(parameter, 15, half - 2 * PAD), 15, INK)
    _beside(picture, small, (PAD, 50 + 25 * len(parameters) + 6), 12)

    middle = height // 2
    draw.line((half + 8, middle, half + 34, middle), fill=ACCENT, width=4)
    draw.polygon(((half + 34, middle - 8), (half + 34, middle + 8), (half + 44, middle)), fill=ACCENT)

    draw.rounded_rectangle((left, 4, WIDTH - 5, height - 5), 12, fill=TILE, outline=LINE)
    for number, line in enumerate(said):
        text(draw, (left + 16, 12 + 22 * number), line, 14, MUTED if answer.files else INK)
    _beside(picture, thumbs, (left + 16, 16 + 22 * len(said) + 8), 10)
    return picture


def _beside(picture: Image.Image, small: list[Image.Image], at: tuple[int, int], gap: int) -> None:
    x, y = at
    for each in small:
        picture.paste(each, (x, y))
        x += each.width + gap


def _small(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail(THUMB)
    return small


def shown_files(files: list[File], width: int) -> Iterator[Image.Image]:
    """Pictures as they are, three frames of a video, the wave of a sound."""
    for file in files[:2]:
        if file.mime_type.startswith("image/"):
            image = Image.open(io.BytesIO(file.data)).convert("RGB")
            image.thumbnail((width // len(files[:2]), HIGHEST))
            yield image
        elif file.mime_type.startswith("video/"):
            with av.open(io.BytesIO(file.data), "r") as container:
                frames: list[Image.Image] = [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]  # PyAV's
            for frame in (frames[0], frames[len(frames) // 2], frames[-1]):
                frame.thumbnail((width // 3 - 10, HIGHEST))
                yield frame
        else:
            yield _wave(file.data, width, HIGHEST // 2)


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
    with av.open(io.BytesIO(data), "r") as container:
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
