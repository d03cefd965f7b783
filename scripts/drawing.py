# ruff: noqa: INP001 (a module of scripts; the folder is no package)
"""Colours, and text that fits, for the pictures of the documentation."""

from PIL import ImageDraw

from comfybridge.simulator.fonts import chinese

PAPER, TILE, LINE = "#FFFFFF", "#F5F7FF", "#C7D2FE"
INK, MUTED, ACCENT = "#1E1B4B", "#4B5563", "#4F46E5"


def text(draw: ImageDraw.ImageDraw, at: tuple[float, float], said: str, size: int, colour: str) -> None:
    """Draw a line in the font with Chinese letters."""
    draw.text(at, said, colour, font=chinese(size))


def width_of(said: str, size: int) -> float:
    return chinese(size).getlength(said)


def fit(said: str, size: int, width: float) -> str:
    """The text, cut with an ellipsis where it would be wider."""
    if width_of(said, size) <= width:
        return said
    while said and width_of(f"{said}…", size) > width:
        said = said[:-1]
    return f"{said.rstrip()}…"
