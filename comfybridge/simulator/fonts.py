"""Fonts for the test card: Pillow's own, one with Chinese and Japanese that comes along, and what the system has."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

CHINESE_FONT = Path(__file__).parent / "font" / "NotoSansSC-subset.otf"
"""Latin, kana and the characters of GB 2312; licensed by font/OFL.txt."""
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "SourceHanSansCN-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Light.ttc",
    "msyh.ttc",
    "simhei.ttf",
)
UNASSIGNED = "\u0378"
"""No font has this one: what is drawn for it is the font's box for "missing"."""

PROBE_SIZE = 16
"""Which characters a font has does not depend on its size."""

Font = ImageFont.FreeTypeFont


@lru_cache(maxsize=64)
def plain(size: int) -> Font:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("the test card needs a Pillow built with FreeType")
    return font


@lru_cache(maxsize=64)
def chinese(size: int) -> Font:
    return ImageFont.truetype(CHINESE_FONT, size)


@lru_cache(maxsize=64)
def of_the_system(size: int) -> Font | None:
    """Return a font with all of Chinese; ``None`` where this machine has none."""
    for name in SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


def drawable(text: str, size: int) -> tuple[str, Font] | None:
    """Choose a font for a text, and leave out what no font has, such as emoji.

    ``None`` when letters are missing: a text with holes in it would mislead.
    """
    for family in (plain, chinese, of_the_system):
        font = family(PROBE_SIZE)
        if font is None:
            continue
        kept = "".join(character for character in text if character.isspace() or _has(font, character))
        if sum(map(str.isalnum, kept)) == sum(map(str.isalnum, text)) and (chosen := family(size)):
            return kept, chosen
    return None


def _has(font: Font, character: str) -> bool:
    return _glyph(font, character) != _glyph(font, UNASSIGNED)


@lru_cache(maxsize=8192)
def _glyph(font: Font, character: str) -> bytes:
    return bytes(font.getmask(character))
