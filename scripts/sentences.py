# ruff: noqa: INP001 (a module of scripts; the folder is no package)
"""The sentences in English and Chinese that the code holds, found in its syntax trees.

A pair is two texts side by side, the first without and the second with Chinese letters: two arguments of a call, two
entries of a tuple, or two assignments, one after the other.
"""

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CHINESE = re.compile("[\u4e00-\u9fff]")
_FORMAT = re.compile(r"\{(\w+)\}")
_LEAST_LETTERS = 8


@dataclass(frozen=True, slots=True)
class Pair:
    """``english`` and ``chinese`` with ``*name*`` or ``…`` where the code fills something in, from ``line`` on."""

    module: str
    line: int
    #: What is called with it, such as InvalidInput; empty where it is no argument.
    called: str
    english: str
    chinese: str


def pairs(package: Path, leave_out: Sequence[str] = ()) -> Iterator[Pair]:
    """All pairs of a package, in the order of its modules; ``leave_out`` are folders and modules of it."""
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package).with_suffix("").as_posix()
        if module.split("/")[0] not in leave_out:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield from sorted(_pairs(tree, module), key=lambda pair: pair.line)


def text(node: ast.AST) -> str | None:
    """A text as people read it; ``None`` of an expression that is none."""
    match node:
        case ast.Constant(value=str(value)):
            return _FORMAT.sub(r"*\1*", value).replace("{}", "*status*")
        case ast.JoinedStr(values=parts):
            return "".join(
                part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else _field(part)
                for part in parts
            )
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            first, second = text(left), text(right)
            return None if first is None or second is None else first + second
    return None


def _pairs(tree: ast.AST, module: str) -> Iterator[Pair]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=func, args=args):
                yield from _side_by_side(args, module, ast.unparse(func).rpartition(".")[2])
            case ast.Tuple(elts=entries):
                yield from _side_by_side(entries, module, "")
        for _, body in ast.iter_fields(node):
            if isinstance(body, list):
                values = [each.value for each in body if isinstance(each, (ast.Assign, ast.AugAssign))]
                yield from _side_by_side(values, module, "")


def _side_by_side(nodes: Sequence[ast.AST], module: str, called: str) -> Iterator[Pair]:
    for first, second in itertools.pairwise(nodes):
        english, chinese = text(first), text(second)
        if english is None or chinese is None or _CHINESE.search(english) or not _CHINESE.search(chinese):
            continue
        if sum(letter.isalpha() for letter in re.sub(r"\*\w+\*", "", english)) >= _LEAST_LETTERS:
            line = first.lineno if isinstance(first, ast.expr) else 0
            yield Pair(module, line, called, english.strip(), chinese.strip())


def _named(name: str) -> str:
    plain = name.strip("_").removesuffix("_en").removesuffix("_zh")
    if plain in ("english", "chinese", "zh", "exc", "error"):
        return "…"
    return f"*{plain.lower().replace('_', ' ') if plain.isupper() else plain}*"


def _field(node: ast.AST) -> str:
    """The name of what an f-string fills in."""
    value = node.value if isinstance(node, ast.FormattedValue) else node
    while True:
        match value:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return _named(name)
            case ast.Subscript(value=inner):
                value = inner
            case ast.Call(args=[first, *_]):
                value = first
            case ast.Call(func=ast.Attribute(value=inner)):
                value = inner
            case ast.GeneratorExp(elt=inner) | ast.BinOp(left=inner):
                value = inner
            case _:
                return "…"
