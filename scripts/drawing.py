# ruff: noqa: INP001 (a module of scripts; the folder is no package)
"""Colours, and text that fits, for the pictures of the documentation."""

from PIL import ImageDraw

from comfybridge.simulator.fonts import drawable

PAPER, TILE, LINE = "#FFFFFF", "#F5F7FF", "#C7D2FE"
INK, MUTED, ACCENT = "#1E1B4B", "#4B5563", "#4F46E5"


def text(draw: ImageDraw.ImageDraw, at: tuple[float, float], said: str, size: int, colour: str) -> None:
    """Draw a line in a font that has its letters; what no font has is left out."""
    found = drawable(said, size)
    if found is not None:
        draw.text(at, found[0].strip(), colour, font=found[1])


def width_of(said: str, size: int) -> float:
    found = drawable(said, size)
    return found[1].getlength(found[0].strip()) if found else 0.0


def fit(said: str, size: int, width: float) -> str:
    """The text, cut with an ellipsis where it would be wider."""
    if width_of(said, size) <= width:
        return said
    while said and width_of(f"{said}…", size) > width:
        said = said[:-1]
    return f"{said.rstrip()}…"
