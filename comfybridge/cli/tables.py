"""Tables as the service's commands print them."""

from collections.abc import Sequence

from comfybridge.inspection import columns


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, as wide as their widest cell is in a terminal; the first row are the headings."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
