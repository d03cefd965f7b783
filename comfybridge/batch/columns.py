"""What the columns of a table mean: parameters of a generation, or values that its templates know by name. Pure."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from comfybridge.errors import InvalidInput
from comfybridge.marks import role_of

PARAMETERS = (
    "prompt",
    "negative_prompt",
    "template",
    "seed",
    "size",
    "width",
    "height",
    "count",
    "steps",
    "cfg",
    "sampler",
    "scheduler",
    "model",
    "loras",
    "images",
    "masks",
    "seconds",
    "denoise",
    "format",
    "keep_metadata",
    "timeout",
)
"""The parameters of a generation that a row may set."""
NAME = "name"
"""What the caller calls the row: for file names, and to find it again."""

# A role's word where the parameter has another, and what roles have no word for.
_OF_ROLE = {"positive": "prompt", "negative": "negative_prompt", "batch": "count"}
_ALIASES = {
    "strength": "denoise",
    "template name": "template",
    "workflow": "template",
    "title": NAME,
    "id": NAME,
    "sku": NAME,
    "模板": "template",
    "工作流": "template",
    "尺寸": "size",
    "大小": "size",
    "比例": "size",
    "名称": NAME,
    "名字": NAME,
    "文件名": NAME,
    "编号": NAME,
    "时长": "seconds",
    "秒数": "seconds",
    "格式": "format",
    "超时": "timeout",
    "张数": "count",
}


def meaning(column: str) -> str | None:
    """The parameter that a column's heading names, ``name`` included; ``None`` for any other."""
    plain = " ".join(column.replace("_", " ").replace("-", " ").split()).casefold()
    word = plain.replace(" ", "_")
    if word in (*PARAMETERS, NAME):
        return word
    if plain in _ALIASES:
        return _ALIASES[plain]
    role = role_of(column)
    found = _OF_ROLE.get(role, role) if role is not None else None
    return found if found in PARAMETERS else None


def meanings(columns: Sequence[str], named: Collection[str] | None, given: Collection[str] = ()) -> Mapping[str, str]:
    """Column -> parameter, or the name of a template's own value.

    ``named`` are the values that the table's templates know by name, ``None`` where only the server can tell; ``given``
    are parameters that all rows have from elsewhere.

    Raises:
        InvalidInput: a column that nothing takes, two for the same, or none that says what to make.
    """
    found: dict[str, str] = {}
    for column in filter(None, columns):
        meant = meaning(column) or _own(column, named)
        if meant is None:
            raise _unknown(column, named or ())
        other = next((known for known, each in found.items() if each == meant), None)
        if other is not None:
            raise InvalidInput(
                f"The columns {other} and {column} both mean {meant}: keep one of them.",
                f"列 {other} 与 {column} 含义相同（{meant}）：请只保留一列。",
            )
        found[column] = meant
    if not {"prompt", "images"} & {*found.values(), *given}:
        raise InvalidInput(
            f"There is no column prompt. The columns are: {', '.join(filter(None, columns))}.",
            f"缺少 prompt（提示词）列。现有的列：{'、'.join(filter(None, columns))}。",
        )
    return found


def _own(column: str, named: Collection[str] | None) -> str | None:
    if named is None:
        return column.strip()
    return next((name for name in named if name.casefold() == column.strip().casefold()), None)


def _unknown(column: str, named: Collection[str]) -> InvalidInput:
    known = [*PARAMETERS, NAME, *named]
    near = difflib.get_close_matches(column.strip().casefold(), known, n=2)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    meant_zh = f"是否指 {' 或 '.join(near)}？" if near else ""
    return InvalidInput(
        f"Nothing takes the column {column}.{meant} Columns are: {', '.join(known)}.",
        f"无法识别列 {column}。{meant_zh}可用的列：{'、'.join(known)}。",
    )
