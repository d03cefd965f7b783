"""The exit statuses of all commands; ``docs/cli.md`` has the same table."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfybridge.errors import ComfyError

SUCCEEDED, PROBLEMS, USAGE, REJECTED, FAILED, CANCELLED, TIMED_OUT, LOST, UNAVAILABLE = range(9)
INTERRUPTED = 130

TABLE = {
    SUCCEEDED: ("It worked.", "成功。"),
    PROBLEMS: ("Of several some failed, or a check found a problem.", "多个任务中有失败，或检查发现问题。"),
    USAGE: ("What was typed or given cannot be used; nothing was sent.", "参数或输入无法使用，未发送任何内容。"),
    REJECTED: ("The server refuses the workflow, or lacks a model or node.", "服务器拒绝工作流，或缺少模型、节点。"),
    FAILED: ("A node failed, or nothing usable was saved.", "节点执行失败，或没有可用的输出。"),
    CANCELLED: ("Somebody stopped the job in ComfyUI.", "任务被人在 ComfyUI 中停止。"),
    TIMED_OUT: ("Not finished in time; the job goes on in ComfyUI.", "未在规定时间内完成，任务仍在 ComfyUI 中继续。"),
    LOST: ("No server knows the job, mostly after a restart.", "服务器上没有该任务，多因重启。"),
    UNAVAILABLE: ("No server can be reached or used.", "没有可用的服务器。"),
    INTERRUPTED: ("Ctrl-C: what was started was cancelled.", "按下 Ctrl-C：已取消所启动的任务。"),
}

_BY_OUTCOME = {
    "rejected": REJECTED,
    "failed": FAILED,
    "cancelled": CANCELLED,
    "timed_out": TIMED_OUT,
    "lost": LOST,
}


def of_error(error: "ComfyError") -> int:
    from comfybridge.errors import InvalidInput, Unavailable  # noqa: PLC0415  # keeps --help quick

    match error:
        case InvalidInput():
            return USAGE
        case Unavailable():
            return UNAVAILABLE
    return _BY_OUTCOME[error.outcome]


def of_several(statuses: Iterable[int]) -> int:
    """The status that all of them have, else ``PROBLEMS``."""
    different = set(statuses)
    if len(different) > 1:
        return PROBLEMS
    return different.pop() if different else SUCCEEDED
