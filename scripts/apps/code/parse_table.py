import csv
import json
import re

SIZES = []
# Dify lets a code node hand out no longer list.
MOST_ROWS = 30
COLUMNS = {
    "prompt": "prompt",
    "提示词": "prompt",
    "描述": "prompt",
    "size": "size",
    "尺寸": "size",
    "seed": "seed",
    "种子": "seed",
    "negative_prompt": "negative",
    "反向提示词": "negative",
}


def main(table: str) -> dict:
    """The usable rows as JSON, and a line for every other one. Tabs, commas, semicolons or Markdown part the cells."""
    lines = [(number, line) for number, line in enumerate(table.splitlines(), start=1) if line.strip()]
    lines = [(number, line) for number, line in lines if not re.fullmatch(r"[\s|:-]+", line)]
    mark = next((mark for mark in "\t|;," if lines and mark in lines[0][1]), ",")
    rows = [(number, cells(line, mark)) for number, line in lines]
    header = ["prompt", "size", "seed", "negative"]
    if rows and rows[0][1][0].lower() in COLUMNS:
        header = [COLUMNS.get(name.lower(), "") for name in rows.pop(0)[1]]

    good, problems = [], []
    for number, row in rows:
        values = {"prompt": "", "size": "", "seed": "", "negative": ""}
        values.update({name: value for name, value in zip(header, row) if name})
        problem = wrong(values["prompt"], values["size"], values["seed"])
        if not problem and len(good) == MOST_ROWS:
            problem = f"only {MOST_ROWS} rows at a time 每次最多 {MOST_ROWS} 行"
        if problem:
            problems.append(f"Line {number}: {problem}. 第 {number} 行未处理。")
        else:
            good.append(json.dumps({**values, "size": values["size"] or "1:1"}, ensure_ascii=False))
    return {"rows": good, "problems": "\n".join(problems)}


def cells(line: str, mark: str) -> list:
    if mark == "|":
        line = line.strip().strip("|")
    return [cell.strip() for cell in next(csv.reader([line], delimiter=mark, skipinitialspace=True))]


def wrong(prompt: str, size: str, seed: str) -> str:
    if not prompt:
        return "no prompt 没有提示词"
    if size and size not in SIZES and not re.fullmatch(r"\d{2,4}[x×*]\d{2,4}", size):
        return f"no such size {size!r} 没有这个尺寸"
    if seed and not re.fullmatch(r"-1|\d{1,20}", seed):
        return f"no such seed {seed!r} 没有这样的种子"
    return ""
