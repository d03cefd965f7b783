"""How many pixels a call may ask for. Pure."""

import math
from collections.abc import Sequence

from comfybridge.errors import InvalidInput
from comfybridge.filling import Filled

_GRID = 8
_MEGA = 1_000_000


def check(filled: Sequence[Filled], most: int | None) -> None:
    """Refuse graphs that begin with more than ``most`` pixels in all; ``None`` is no limit.

    A graph that does not say its size, or makes it out of a picture, passes; so does what grows on the way.

    Raises:
        InvalidInput: with the numbers, and what would fit.
    """
    pixels = sum(graph.pixels or 0 for graph in filled)
    if most is None or pixels <= most:
        return
    width, height = filled[0].width or 0, filled[0].height or 0
    count = round(pixels / (width * height)) if width and height else 1
    fits = most * count // pixels
    scale = math.sqrt(most / pixels)
    smaller = "{}×{}".format(*(max(_GRID, math.floor(side * scale / _GRID) * _GRID) for side in (width, height)))
    asked, allowed = f"{count} × {width}×{height} = {pixels / _MEGA:.3g}", f"{most / _MEGA:.3g}"
    english, chinese = f"up to {smaller} fits", f"最大 {smaller}"
    if count > 1 and fits:
        english += f" for {count} pictures, or {fits} of this size"
        chinese += f"（{count} 张），或此尺寸最多 {fits} 张"
    elif count > 1:
        english += f" for {count} pictures"
        chinese += f"（{count} 张）"
    raise InvalidInput(
        f"{asked} megapixels are more than the {allowed} that one call may have here: {english}.",
        f"{asked} 百万像素，超过单次调用的上限 {allowed}：{chinese}。",
    )
