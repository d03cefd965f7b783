"""Words that an operator blocks, found in a text however they are spaced, dotted or dressed up. Pure.

A text is read as a row of letters, with a gap wherever something stands between two of them. Words of scripts with
spaces (Latin, Cyrillic, …) are whole words, so that ``ass`` is not found in ``glass``; words of scripts without
(Chinese, Japanese, Thai, …) are found wherever their characters follow each other.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from comfybridge.errors import InvalidInput

_BETWEEN_ENTRIES = re.compile(r"[,，;；、\r\n]")
# Thai to Lao, Burmese, Hangul, Khmer, kana and bopomofo, Han.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
# Nothing to see, beside what Unicode calls format characters: fillers and variation selectors.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_ENDS_OF_PHRASES = frozenset(',;:!?…。，、；：！？｡､()（）[]【】{}《》「」"“”\n\r\u2028\u2029')
# All but the tilde of ñ, which is a letter of its own: "año" is not "ano".
_ACCENTS = re.compile("[\u0300-\u0302\u0304-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]|(?<![nN])\u0303")

_LOOK_ALIKES = str.maketrans(
    "аеорсхуікѕјһАВЕКМНОРСТУХІЅЈανορικτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcxyiksjhabekmhopctyxisjavopiktyxabezhikmnoptyx",
)
_SIGNS = str.maketrans("013457@$€!|", "oieastaseii")
_LATIN = "a-zA-Zａ-ｚＡ-Ｚ"
_HAS_LATIN = re.compile(f"[{_LATIN}]")
_CHUNK = re.compile(r"\S+")
# An exclamation mark or a bar at the end of a word is no letter.
_WITH_SIGNS = re.compile(f"(?:[{_LATIN}0-9@$€]|[!|](?=[{_LATIN}0-9@$€!|]))+")

_MOST_FOLDS = 20_000

_ORDINARY = frozenset(
    re.findall(
        r"\w+",
        """
        a i al am an and any are as at be big but by can co con de den di do for from get go got had has hat he her him
        his hot how if in is it its la le let man me men my no nor not of off on one or our out pen per put red see set
        she so sun tan ten than that the their them then they this to too top two up us use via was we who why will
        with you your
        """,
    )
)
"""Short words of everyday text: two that only happen to make a third (``pen is``) hide nothing."""


class _Gap(IntEnum):
    """What stands between two letters; at the beginning and the end of a text stands the end of a phrase."""

    NONE = 0
    CHANGE = 1
    """Nothing, but another kind of character begins: a digit after a letter, Latin after Chinese."""
    SIGNS = 2
    SPACE = 3
    PHRASE = 4
    """A comma, a bracket, a new line, …"""


class _Kind(IntEnum):
    """What a character counts as."""

    SPACED = 0
    SPACELESS = 1
    DIGIT = 2
    NOTHING = 3
    """It neither counts nor parts what stands before and after it."""
    GAP = 4


@dataclass(frozen=True, slots=True)
class _Row:
    """A text's letters as they are compared, the place and kind of each, the gap before each and after the last."""

    letters: str
    places: list[int]
    kinds: list[_Kind]
    gaps: list[_Gap]

    def pieces(self, start: int, end: int) -> list[str]:
        cuts = [start, *(place for place in range(start + 1, end) if self.gaps[place]), end]
        return [self.letters[one:other] for one, other in itertools.pairwise(cuts)]


class BlockedWords:
    """A list of words to look for."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        rows = [_row(unicodedata.normalize("NFC", word)) for word in words]
        self._words = {row.letters: len(row.pieces(0, len(row.letters))) for row in rows}
        self._beginnings = {word[:length] for word in self._words for length in range(1, len(word) + 1)}

    def __len__(self) -> int:
        return len(self._words)

    def find(self, text: str) -> str | None:
        """The first blocked word as it stands in the text; ``None`` when there is none."""
        if not self._words:
            return None
        plain = unicodedata.normalize("NFC", text)
        # Characters are only exchanged one for one, so the places stay the same.
        for reading in dict.fromkeys((plain, _undressed(plain))):
            row = _row(reading)
            for start, end in self._matches(row):
                return plain[row.places[start] : row.places[end - 1] + 1]
        return None

    def _matches(self, row: _Row) -> Iterator[tuple[int, int]]:
        letters, words, beginnings, spaceless = row.letters, self._words, self._beginnings, _Kind.SPACELESS
        for start, (kind, gap) in enumerate(zip(row.kinds, row.gaps, strict=False)):
            if not gap and kind is not spaceless:
                continue
            for end in range(start + 1, len(letters) + 1):
                beginning = letters[start:end]
                if beginning not in beginnings:
                    break
                if beginning in words and self._is_word(row, start, end):
                    yield start, end

    def _is_word(self, row: _Row, start: int, end: int) -> bool:
        """Whether the letters from ``start`` to ``end``, which spell a blocked word, are one."""
        before, after = row.gaps[start], row.gaps[end]
        if not after and row.kinds[end - 1] is not _Kind.SPACELESS:
            return False
        widest = max(row.gaps[start + 1 : end], default=_Gap.NONE)
        if _Kind.SPACELESS in row.kinds[start:end]:
            # 暖色，情侣: what ends one phrase and begins the next is no word, unless one of them is nothing else.
            return widest < _Gap.PHRASE or max(before, after) >= _Gap.SIGNS
        if set(row.kinds[start:end]) == {_Kind.DIGIT}:
            # 6.4 and 6:4 are other numbers than 64.
            return widest is _Gap.NONE
        if widest < _Gap.SPACE:
            return True
        # The "but t" of "but T-shirts" is parts of two words, and so is the "s hit" of "it's hit".
        if min(before, after) < _Gap.SPACE:
            return False
        is_phrase = self._words[row.letters[start:end]] > 1
        return is_phrase or not _ORDINARY.issuperset(row.pieces(start, end))


NONE = BlockedWords()


@functools.lru_cache(maxsize=8)
def blocked_words(text: str) -> BlockedWords:
    """Read a list with commas, semicolons or line breaks between its entries.

    Raises:
        InvalidInput: an entry is made of signs only, or of digits and signs.
    """
    entries = [entry for entry in map(str.strip, _BETWEEN_ENTRIES.split(text)) if entry]
    for number, entry in enumerate(entries, start=1):
        kinds = set(_row(entry).kinds)
        if not kinds or (kinds == {_Kind.DIGIT} and not entry.isdigit()):
            raise InvalidInput(
                f"blocked_words: entry {number} has no letter. Write words with commas or line breaks between them.",
                f"blocked_words：第 {number} 项不含文字。请填写词语，用逗号或换行分隔。",
            )
    return BlockedWords(entries)


def _undressed(text: str) -> str:
    """The text with Latin letters for what only looks like them, where it stands beside Latin letters."""
    text = _CHUNK.sub(lambda chunk: _with_latin(chunk[0], _LOOK_ALIKES), text)
    return _WITH_SIGNS.sub(lambda run: _with_latin(run[0], _SIGNS), text)


def _with_latin(part: str, letters: dict[int, int]) -> str:
    return part.translate(letters) if _HAS_LATIN.search(part) else part


def _row(text: str) -> _Row:
    letters: list[str] = []
    places: list[int] = []
    kinds: list[_Kind] = []
    gaps: list[_Gap] = []
    # Names of this function's own, since it runs for every character of every prompt.
    folds, nothing, between = _FOLDS, _Gap.NONE, _Kind.GAP
    gap, last = _Gap.PHRASE, _Kind.NOTHING
    for place, character in enumerate(text):
        folded, kind = folds[character]
        if kind is between:
            gap = max(gap, _gap(character, text[place + 1 : place + 2]))
            continue
        if kind is not last and gap is nothing and folded:
            gap = _Gap.CHANGE
        for letter in folded:
            letters.append(letter)
            places.append(place)
            kinds.append(kind)
            gaps.append(gap)
            gap, last = nothing, kind
    return _Row("".join(letters), places, kinds, [*gaps, _Gap.PHRASE])


class _Folds(dict[str, tuple[str, _Kind]]):
    """Characters as they are compared: in small letters, without accents, of normal width."""

    def __missing__(self, character: str) -> tuple[str, _Kind]:
        if len(self) >= _MOST_FOLDS:
            self.clear()
        self[character] = folded = _folded(character)
        return folded


_FOLDS = _Folds()


def _folded(character: str) -> tuple[str, _Kind]:
    if unicodedata.category(character) == "Cf" or _INVISIBLE.match(character):
        return "", _Kind.NOTHING
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", character.casefold()))
    if not bare:
        return "", _Kind.NOTHING
    folded = unicodedata.normalize("NFKC", bare)
    # Vowel signs of Indian and other scripts are marks, and part of a word.
    folded = "".join(part for part in folded if part.isalnum() or unicodedata.category(part)[0] == "M")
    if not folded:
        return "", _Kind.GAP
    if _SPACELESS.match(folded):
        return folded, _Kind.SPACELESS
    return folded, _Kind.DIGIT if folded.isdigit() else _Kind.SPACED


def _gap(character: str, following: str) -> _Gap:
    if character == " ":
        return _Gap.SPACE
    # A dot inside "g.o.r.e" ends nothing.
    ends_here = character in ".．" and (not following or following.isspace())
    if ends_here or character in _ENDS_OF_PHRASES:
        return _Gap.PHRASE
    return _Gap.SPACE if character.isspace() else _Gap.SIGNS
