# ruff: noqa: INP001 (a script; the folder is no package)
"""Write docs/troubleshooting.md and docs/zh/troubleshooting.md: every sentence that the plugin says when something is
wrong, as the code has it. ``python -m scripts.troubleshooting``
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.remedies import REMEDIES
from scripts.sentences import Pair, pairs

ROOT = Path(__file__).parents[1]
PAGES = {"en": ROOT / "docs" / "troubleshooting.md", "zh": ROOT / "docs" / "zh" / "troubleshooting.md"}
#: What no Dify user meets.
OTHER_FRONTS = ("__main__", "cli", "demo", "inspection", "service", "simulator")


@dataclass(frozen=True, slots=True)
class Section:
    """``modules`` are those whose sentences stand here; a folder's name takes all of it."""

    title: str
    title_zh: str
    about: str
    about_zh: str
    modules: tuple[str, ...]


SECTIONS = (
    Section(
        "ComfyUI cannot be reached or used",
        "无法连接或使用 ComfyUI",
        "Outcome `failed`; nothing runs. The same sentences appear in the form while you save the credentials, there"
        " with the address. In an app it is left out, and stands in the log of Dify's `plugin_daemon` instead.",
        "结果为 `failed`，没有运行任何任务。保存授权时表单中也会出现这些句子，并带有地址；在应用中不显示地址，"
        "完整地址见 Dify 的 `plugin_daemon` 日志。",
        ("advice", "dify/calls", "pool", "connections", "transport"),
    ),
    Section(
        "The credentials",
        "授权信息",
        "Outcome `rejected`; mostly seen while saving. What was typed is never repeated: it may be a secret.",
        "结果为 `rejected`，多在保存授权时出现。不会重复显示输入的内容，因为其中可能有密钥。",
        ("credentials",),
    ),
    Section(
        "A parameter",
        "参数",
        "Outcome `rejected`; nothing was sent to ComfyUI. Correct the parameter that is named.",
        "结果为 `rejected`，没有向 ComfyUI 发送任何内容。请修改句子中提到的参数。",
        ("parameters", "difymodels", "reading", "idempotency", "generation"),
    ),
    Section(
        "A limit of the operator",
        "管理员设置的限制",
        "Outcome `rejected`, or `failed` where the moderation model could not be asked. See"
        " [shared bots](dify.md#shared-bots).",
        "结果为 `rejected`；审核模型无法调用时为 `failed`。见[多人共用的机器人](dify.md#shared-bots)。",
        ("allowance", "ceiling", "moderation", "dify/moderating"),
    ),
    Section(
        "A picture or file that you give",
        "提供的图片或文件",
        "Outcome `rejected`; nothing was sent to ComfyUI.",
        "结果为 `rejected`，没有向 ComfyUI 发送任何内容。",
        ("refusals", "downloads", "dify/intake"),
    ),
    Section(
        "Models, nodes and values that the server lacks",
        "服务器缺少的模型、节点或值",
        "Outcome `rejected`; nothing ran. Several of these may come in one answer. A model that you install counts at"
        " the next call, a custom node after ComfyUI's restart.",
        "结果为 `rejected`，没有运行任何任务。一次可能返回多条。新装的模型下次调用即生效，自定义节点需要重启 ComfyUI。",
        ("choosing", "library", "nearest", "template", "filling", "preflight", "placement"),
    ),
    Section(
        "A workflow of your own",
        "自己的工作流",
        "Outcome `rejected`, for *Run workflow* alone. `comfybridge workflow inspect FILE` shows how a file is read.",
        "结果为 `rejected`，只出现在“运行工作流”中。可用 `comfybridge workflow inspect FILE` 查看工作流会被如何读取。",
        ("convert", "trace", "marks", "wires", "graph"),
    ),
    Section(
        "The job",
        "任务",
        "Outcome `failed`, `cancelled`, `timed_out` or `lost`, as the first line of the error says. The `prompt_id` of"
        " the job stands there too: look for it in ComfyUI's console and in the log of `plugin_daemon`.",
        "结果为 `failed`、`cancelled`、`timed_out` 或 `lost`，见错误信息第一行。其中的 `prompt_id` 可用于在 ComfyUI"
        " 控制台和 `plugin_daemon` 日志中查找。",
        ("jobs", "client", "collecting", "tries", "fetching", "pictures"),
    ),
    Section(
        "The fallback",
        "备用服务",
        "Outcome `failed`: no ComfyUI could be reached, and [the fallback](dify.md#a-fallback) did not help either.",
        "结果为 `failed`：无法连接 ComfyUI，[备用服务](dify.md#a-fallback)也没有成功。",
        ("fallback",),
    ),
)
NOTES = Section(
    "Notes in an answer that succeeded",
    "成功时附带的说明",
    "No errors: they stand in the text, after the first sentence.",
    "不是错误：这些说明位于返回文本中第一句之后。",
    (),
)
OTHERS = Section("Others", "其他", "The sentence says what to do.", "句子本身说明了该怎么做。", ())
#: Calls and modules whose texts are no errors.
_NOTING = frozenset(("_note", "_noting", "_warn"))
_NOTING_MODULES = frozenset(("dify/delivery", "dify/enhancing"))
_NOTE = re.compile(r": (ignored|left out)$|on this server\.$")
#: Told by the command ``comfybridge workflow inspect`` alone.
_INSPECTION = "Note"

#: What the code puts around a text, by what is called with it or, for lower-case beginnings, by its module.
_AROUND = {
    "_bad_address": ("*field* {}. Write it like *example*.", "*field* {}。格式示例：*example*。"),
    "_bad_headers": (
        "headers: {}. Write a JSON object, or 'Name: value' separated by line breaks or ' | '.",
        "headers：{}。请填写 JSON 对象，或用换行或“ | ”分隔的“Name: value”。",
    ),
    "_UnhelpfulError": ("The fallback *model* at fallback_url {}.", "备用服务 *model*（fallback_url）{}。"),
    "_UnusableError": ("The prompt was used as written: *model* {}.", "已直接使用原提示词：*model* {}。"),
    "_lost": ("{} Run it again.", "{}请重新运行。"),
    "_warn": ("Node *title*: {}", "节点 *title*：{}"),
    "advice": ("ComfyUI at base_url {}", "ComfyUI（base_url）{}"),
    "fallback": ("The fallback *model* at fallback_url {}.", "备用服务 *model*（fallback_url）{}。"),
    "preflight": ("Node *node* (*title*): {}", "节点 *node*（*title*）：{}"),
}
#: The frames themselves, and texts that are parts of others.
_LEAST_WORDS = 4
_PART = re.compile(
    r"^(\*name\* …|headers: …|\*cause\* The fallback|… Run it|up to|for \*|or \*|server \*"
    r"|The prompt was used as written)"
)

# Where a sentence begins to say what to do.
_DOING = re.compile(
    r"(?<=\.) (?=[A-Z])|(?<=:) (?=(?:say|give|write|use|wait|check|change|choose|leave|enter|upload|install|update"
    r"|title|look|keep|take|switch|list|ask|set|try|attach|convert|shorten|make|run|percent-encode|fill|add)\b)"
)
_DOING_ZH = re.compile(r"(?<=。)(?=[^ ])|(?<=[：，；])(?=请|可用|用 |换|密码中的|密码或令牌中的)|(?<=：)(?=稍后|使用)")
_TEXTS = {
    "en": (
        "# Troubleshooting",
        (
            "Every sentence that the plugin says when something is wrong, taken from its code by `make"
            " troubleshooting`. Look for a few words of yours with your browser's search; what stands in *italics* is"
            " filled in. An error begins with a line `outcome=… prompt_id=…`, then comes the sentence in English and in"
            " Chinese."
        ),
        "[中文](zh/troubleshooting.md) · [Guide for Dify](dify.md) · [What each outcome means](dify.md#outcomes)",
        "| What it says | What to do |",
    ),
    "zh": (
        "# 故障排查",
        (
            "插件在出问题时会说的每一句话，由 `make troubleshooting` 直接取自代码。用浏览器搜索错误信息中的几个字即可；"
            "*斜体*处会填入实际内容。错误信息第一行是 `outcome=… prompt_id=…`，随后是英文和中文的句子。"
        ),
        "[English](../troubleshooting.md) · [Dify 使用指南](dify.md) · [各种结果的含义](dify.md#outcomes)",
        "| 提示内容 | 怎么办 |",
    ),
}


def main() -> None:
    for language, path in PAGES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(page(language), encoding="utf-8")


def page(language: str) -> str:
    """The whole page in one language."""
    title, about, links, header = _TEXTS[language]
    is_zh = language == "zh"
    lines = [title, "", about, "", links, ""]
    for section, found in sections(pairs(ROOT / "comfybridge", OTHER_FRONTS)):
        lines += [f"## {section.title_zh if is_zh else section.title}", ""]
        lines += [section.about_zh if is_zh else section.about, "", header, "|---|---|"]
        rows = dict.fromkeys(_row(pair, is_zh=is_zh) for pair in found)
        lines += [*rows, ""]
    return "\n".join(lines)


def sections(found: Iterable[Pair]) -> Iterator[tuple[Section, list[Pair]]]:
    """The sentences, whole and each in its section; sections without any are left out."""
    sorted_in: dict[Section, list[Pair]] = {section: [] for section in (*SECTIONS, OTHERS, NOTES)}
    for pair in found:
        if (whole := framed(pair)) is not None:
            sorted_in[_section(whole)].append(whole)
    yield from ((section, held) for section, held in sorted_in.items() if held)


def framed(pair: Pair) -> Pair | None:
    """The text with what the code puts around it; ``None`` where it is no sentence of its own."""
    if pair.called == _INSPECTION or _PART.match(pair.english):
        return None
    around = _AROUND.get(pair.called)
    if around is None and not pair.english[0].isupper() and not pair.english.endswith("_"):
        is_fragment = pair.called in ("", "_problem", "Problem") and pair.module in _AROUND
        around = _AROUND[pair.module] if is_fragment else None
    if len(pair.english.split()) < (_LEAST_WORDS if around is None else 3):
        return None
    english, chinese = around or ("{}", "{}")
    return Pair(pair.module, pair.line, pair.called, _put(english, pair.english), _put(chinese, pair.chinese))


def _row(pair: Pair, *, is_zh: bool) -> str:
    remedy = next((remedy for begins, remedy in REMEDIES.items() if pair.english.startswith(begins)), None)
    if remedy is not None:
        says, does = (pair.chinese, remedy[1]) if is_zh else (pair.english, remedy[0])
    else:
        says, does = _parted(pair.chinese, _DOING_ZH) if is_zh else _parted(pair.english, _DOING)
    return f"| {_cell(says)} | {_cell(does[:1].upper() + does[1:])} |"


def _section(pair: Pair) -> Section:
    if pair.called in _NOTING or pair.module in _NOTING_MODULES or _NOTE.search(pair.english):
        return NOTES
    names = (pair.module, pair.module.partition("/")[0])
    return next((section for section in SECTIONS if set(names) & set(section.modules)), OTHERS)


def _put(frame: str, text: str) -> str:
    return frame.replace("{}", text.rstrip(".。") if frame.endswith(("{}.", "{}。")) else text)


def _parted(sentence: str, doing: re.Pattern[str]) -> tuple[str, str]:
    for found in doing.finditer(sentence):
        says = sentence[: found.start()]
        if says.rstrip(":：").rstrip().count(" ") or doing is _DOING_ZH:
            return says.rstrip(":：，； "), sentence[found.end() :].strip()
    return sentence, ""


def _cell(text: str) -> str:
    apart = re.sub(r"(?<=\w)\*\*(?=\w)", "* *", text).replace("……", "…").replace("….", "…").replace("…。", "…")
    return apart.replace("|", r"\|")


if __name__ == "__main__":
    main()
