"""The picture that stands in for a generated one: a test card that says what was asked for and that it is none."""

import colorsys
import hashlib
import math
import random
from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFilter

from comfybridge.simulator import fonts
from comfybridge.simulator.values import Latent, Picture, Sampling

BANNER = "ComfyUI simulator"
DISCLAIMER = "test card, not a diffusion model"
SMALLEST_WITH_TEXT = 160
"""Shorter sides than this, in pixels, get no text: nobody could read it."""
MAX_PREVIEW_SIDE = 512
"""ComfyUI's previews fit into this square (latent_preview.py)."""
WHITE = (255, 255, 255)
LONGEST_SHOWN = 1500
"""More characters than this are not even tried: they would not fit the card."""
Palette = list[tuple[int, int, int]]
PALETTES = (
    ((232, 70, 22), (262, 58, 45), (322, 60, 74), (12, 62, 92), (38, 60, 98)),
    ((205, 85, 24), (198, 80, 48), (184, 62, 66), (172, 45, 82), (52, 55, 97)),
    ((248, 62, 28), (226, 70, 58), (206, 66, 82), (190, 50, 92), (330, 48, 97)),
    ((168, 75, 20), (160, 62, 40), (142, 48, 62), (96, 40, 80), (54, 62, 96)),
    ((282, 66, 26), (304, 60, 50), (338, 64, 78), (356, 58, 94), (28, 58, 99)),
    ((216, 60, 20), (210, 52, 42), (18, 62, 70), (24, 68, 92), (44, 58, 98)),
    ((256, 55, 24), (276, 48, 50), (214, 56, 76), (180, 44, 88), (66, 42, 95)),
    ((348, 74, 24), (352, 70, 50), (8, 68, 78), (30, 64, 94), (46, 52, 99)),
)
"""Hue in degrees, saturation and value in percent, from dark to light."""


def decoded(latent: Latent) -> Picture:
    """Turn a latent into pictures: test cards if it was sampled, else what was encoded, else grey."""
    if latent.sampling is None:
        if latent.picture is not None:
            return latent.picture
        return Picture(
            (Image.new("RGB", (latent.width, latent.height), (127, 127, 127)),) * latent.batch * latent.length
        )
    cards = (painted(latent, latent.sampling, index) for index in range(latent.batch))
    return Picture(tuple(frame for card in cards for frame in _moving(card, latent.length)))


def painted(latent: Latent, sampling: Sampling, index: int = 0) -> Image.Image:
    palette = _palette(sampling, index)
    card = _background(latent, sampling, palette, index)
    if min(latent.width, latent.height) >= SMALLEST_WITH_TEXT:
        _draw_geometry(card)
        _draw_text(card, latent, sampling, index, palette)
    if latent.mask is None or latent.picture is None:
        return card
    source = latent.picture.frames[index % len(latent.picture.frames)].convert("RGB")
    area = latent.mask.frames[index % len(latent.mask.frames)].resize(card.size)
    return noted(Image.composite(card, source, area))


def noted(picture: Image.Image) -> Image.Image:
    """Say in a corner of a picture, which may look like a real one, that no model made it."""
    unit = min(picture.size)
    if unit < SMALLEST_WITH_TEXT:
        return picture
    canvas = picture.convert("RGB")
    size, margin = max(10, unit // 38), unit // 40
    font = fonts.plain(size)
    wide, high = round(font.getlength(BANNER)) + size, round(size * 1.6)
    left, top = canvas.width - margin - wide, canvas.height - margin - high
    _darken(canvas, (left, top, left + wide, top + high), radius=size // 2)
    ImageDraw.Draw(canvas).text((left + size // 2, top + size * 0.2), BANNER, font=font, fill=WHITE)
    return canvas


def _moving(card: Image.Image, length: int) -> Iterator[Image.Image]:
    """Let a light run round the card's circle and a bar grow along its lower edge, once in all frames."""
    if length == 1:
        yield card
        return
    width, height = card.size
    unit = min(width, height)
    radius, light, bar = unit * 0.46, max(2, unit // 40), max(1, unit // 60)
    for number in range(length):
        frame = card.copy()
        draw = ImageDraw.Draw(frame)
        turn = 2 * math.pi * number / length
        x, y = width / 2 + radius * math.sin(turn), height / 2 - radius * math.cos(turn)
        draw.ellipse((x - light, y - light, x + light, y + light), fill=WHITE)
        draw.rectangle((0, height - bar, width * (number + 1) / length, height), fill=WHITE)
        yield frame


def previewed(latent: Latent, sampling: Sampling, *, done: float) -> Image.Image:
    """Paint what a latent preview shows after a share of the steps: the colours, getting sharper."""
    background = _background(latent, sampling, _palette(sampling, 0), 0)
    background.thumbnail((MAX_PREVIEW_SIDE, MAX_PREVIEW_SIDE))
    return background.filter(ImageFilter.GaussianBlur(24 * (1 - done)))


def _random(sampling: Sampling, index: int) -> random.Random:
    told = f"{sampling.positive}\0{sampling.seed}\0{index}".encode("utf-8", "surrogatepass")
    return random.Random(hashlib.sha256(told).digest())  # noqa: S311  (colours, not secrets)


def _palette(sampling: Sampling, index: int) -> Palette:
    """Pick colours that go together: a dusk, a dawn, a sea …, its hues moved a little; the last one is the accent."""
    chance = _random(sampling, index)
    drift = chance.uniform(-0.03, 0.03)
    rgb = (
        colorsys.hsv_to_rgb((hue / 360 + drift) % 1, saturation / 100, value / 100)
        for hue, saturation, value in chance.choice(PALETTES)
    )
    return [(round(red * 255), round(green * 255), round(blue * 255)) for red, green, blue in rgb]


def _background(latent: Latent, sampling: Sampling, palette: Palette, index: int) -> Image.Image:
    """A soft mesh of the palette's colours; over the source picture as far as ``denoise`` lets it through."""
    chance = _random(sampling, index)
    columns, rows = (4, 5) if latent.height > latent.width else (5, 4)
    mesh = Image.new("RGB", (columns, rows))
    # The accent lights up one cell only: white text has to stay readable on the rest.
    cells = [chance.choice(palette[:-1]) for _ in range(columns * rows)]
    cells[chance.randrange(columns)] = palette[-1]
    mesh.putdata(cells)
    # Two steps: cubic at full size costs four times as much and looks the same.
    small = mesh.resize((max(1, latent.width // 8), max(1, latent.height // 8)), Image.Resampling.BICUBIC)
    canvas = small.resize((latent.width, latent.height), Image.Resampling.BILINEAR)
    if latent.picture is None:
        return canvas
    source = latent.picture.frames[index % len(latent.picture.frames)].convert("RGB")
    return Image.blend(source, canvas, min(0.85, max(0.1, sampling.denoise)))


def _draw_geometry(card: Image.Image) -> None:
    """Draw the circle, cross and corners of a television test card, thin and half transparent."""
    width, height = card.size
    unit = min(width, height)
    line = max(1, unit // 400)
    veil = Image.new("L", card.size)
    draw = ImageDraw.Draw(veil)
    x, y, radius = width / 2, height / 2, unit * 0.46
    for share in (1.0, 0.62):
        reach = radius * share
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=80, width=line)
    draw.line((0, y, width, y), fill=50, width=line)
    draw.line((x, 0, x, height), fill=50, width=line)
    margin, arm = unit // 28, unit // 14
    for left, top in ((0, 0), (1, 0), (0, 1), (1, 1)):
        corner_x, corner_y = margin + left * (width - 2 * margin), margin + top * (height - 2 * margin)
        draw.line((corner_x, corner_y, corner_x + (-arm if left else arm), corner_y), fill=170, width=2 * line)
        draw.line((corner_x, corner_y, corner_x, corner_y + (-arm if top else arm)), fill=170, width=2 * line)
    card.paste(WHITE, mask=veil)


def _draw_text(card: Image.Image, latent: Latent, sampling: Sampling, index: int, palette: Palette) -> None:
    width, height = card.size
    unit = min(width, height)
    margin = unit // 14
    small = max(10, unit // 38)
    facts = _facts(latent, sampling, index)
    floor = height - margin - round(small * 1.5 * len(facts)) - small
    _darken(card, (0, floor, width, height))
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, floor, width, floor + max(2, unit // 110)), fill=palette[-1])
    for number, fact in enumerate(facts):
        _draw_line(draw, (margin, floor + small * (1.1 + 1.5 * number)), fact, small, width - 2 * margin)
    _draw_banner(card, margin, margin, small, palette[-1])
    _draw_prompt(draw, (margin, margin + small * 4, width - margin, floor - small), sampling.positive, unit)


def _darken(card: Image.Image, box: tuple[int, int, int, int], radius: int = 0) -> None:
    veil = Image.new("L", card.size)
    ImageDraw.Draw(veil).rounded_rectangle(box, radius=radius, fill=160)
    card.paste((8, 8, 14), mask=veil)


def _draw_banner(card: Image.Image, x: int, y: int, size: int, accent: tuple[int, int, int]) -> None:
    large, thin = fonts.plain(round(size * 1.2)), fonts.plain(size)
    wide = round(max(large.getlength(BANNER), thin.getlength(DISCLAIMER))) + 2 * size
    _darken(card, (x, y, x + wide, y + round(size * 3.7)), radius=round(size * 0.6))
    draw = ImageDraw.Draw(card)
    draw.text((x + size, y + size * 0.45), BANNER, font=large, fill=WHITE)
    draw.text((x + size, y + size * 2), DISCLAIMER, font=thin, fill=accent)


def _facts(latent: Latent, sampling: Sampling, index: int) -> list[str]:
    batch = f"   image {index + 1} of {latent.batch}" if latent.batch > 1 else ""
    sampler = "/".join(part for part in (sampling.sampler, sampling.scheduler) if part)
    denoise = f"   denoise {sampling.denoise:g}" if sampling.denoise < 1 else ""
    return [
        f"seed {sampling.seed}   {latent.width} x {latent.height}{batch}",
        f"{sampling.steps} steps   cfg {sampling.cfg:g}   {sampler}{denoise}",
        " + ".join((sampling.model.name or "no model", *sampling.model.loras)),
    ]


def _draw_prompt(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], prompt: str, unit: int) -> None:
    """Draw the prompt as large as it fits, in the middle of the box."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    text = " ".join(prompt[:LONGEST_SHOWN].split()) or "(no prompt)"
    placeholder = f"(prompt in {len(prompt)} characters, see metadata)"
    smallest = max(10, unit // 50)
    for size in (unit // 13, unit // 17, unit // 22, unit // 28, unit // 36, smallest):
        shown, font = fonts.drawable(text, size) or (placeholder, fonts.plain(size))
        pitch = round(size * 1.32)
        room = max(1, height // pitch)
        if size != smallest and font.getlength(shown) > width * room:
            continue
        lines = _wrapped(shown, font, width)
        if len(lines) <= room or size == smallest:
            break
    if len(lines) > room:
        lines = [*lines[: room - 1], lines[room - 1][:-1] + "…"]
    y = (top + bottom - pitch * len(lines)) / 2
    shadow = max(1, size // 22)
    for number, line in enumerate(lines):
        place = y + number * pitch
        draw.text((left + shadow, place + shadow), line, font=font, fill=(20, 20, 28))
        draw.text((left, place), line, font=font, fill=WHITE)


def _wrapped(text: str, font: fonts.Font, width: int) -> list[str]:
    """Break at spaces and around Chinese characters, and inside a word that is wider than a line."""
    lines, line, used = [], "", 0.0
    for piece in _pieces(text):
        length = font.getlength(piece)
        parts = [piece]
        if length > width:
            fitting = max(1, int(len(piece) * width / length))
            parts = [piece[at : at + fitting] for at in range(0, len(piece), fitting)]
        for part in parts:
            length = font.getlength(part)
            if line and used + font.getlength(part.rstrip()) > width:
                lines.append(line.rstrip())
                line, used = "", 0.0
            line += part
            used += length
    return [*lines, line.rstrip()]


def _pieces(text: str) -> list[str]:
    pieces, word = [], ""
    for character in text:
        if ord(character) >= 0x2E80:  # noqa: PLR2004  (from here on: Chinese, Japanese, Korean)
            pieces += [word, character] if word else [character]
            word = ""
            continue
        word += character
        if character == " ":
            pieces.append(word)
            word = ""
    return [*pieces, word] if word else pieces


def _draw_line(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, width: int) -> None:
    shown, font = fonts.drawable(text, size) or (ascii(text), fonts.plain(size))
    if font.getlength(shown) > width:
        while len(shown) > 1 and font.getlength(shown + "…") > width:
            shown = shown[:-1]
        shown += "…"
    draw.text(at, shown, font=font, fill=(240, 240, 240))
