"""Which encoding a table is written in: Excel writes UTF-16, GB18030 or a Windows code page without saying so."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from comfybridge.errors import InvalidInput

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PIECE = 2**16
# What Chinese text in GBK is made of nearly always: the two bytes of a common character.
_HANZI = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_HIGH = re.compile(rb"[\x80-\xff]")


def encoding_of(path: Path) -> str:
    """The encoding of a text file, as Python calls it.

    Raises:
        InvalidInput: it is in none of those that tables are written in.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begun = file.read(_PIECE)
    for mark, name in _BOMS:
        if begun.startswith(mark):
            return name
    # Line feeds and commas of UTF-16 have a zero beside them: behind where the low byte is the first.
    wide = ("utf-16-be", "utf-16-le") if begun[::2].count(0) > begun[1::2].count(0) else ("utf-16-le", "utf-16-be")
    for name in wide if 0 in begun else ("utf-8", *_windows(path)):
        if _can_decode(path, name):
            return name
    raise InvalidInput(
        f"{path.name} is no text in UTF-8, UTF-16, GB18030 or a Windows code page: save it as CSV UTF-8.",
        f"{path.name} 不是 UTF-8、UTF-16、GB18030 或 Windows 编码的文本：请另存为“CSV UTF-8”。",
    )


def _windows(path: Path) -> tuple[str, ...]:
    """GB18030 where the bytes of other than ASCII come in pairs, else the code page of Western Europe."""
    pairs = singles = 0
    for piece in _pieces(path):
        high, hanzi = len(_HIGH.findall(piece)), len(_HANZI.findall(piece))
        pairs, singles = pairs + hanzi, singles + high - 2 * hanzi
    return ("gb18030", "cp1252") if pairs > singles else ("cp1252",)


def _can_decode(path: Path, name: str) -> bool:
    decoder = codecs.getincrementaldecoder(name)()
    try:
        for piece in _pieces(path):
            if "\0" in decoder.decode(piece):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
