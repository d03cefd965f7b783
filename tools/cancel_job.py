from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage


class CancelJobTool(Tool):
    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        # Dify's daemon waits for the start of every plugin; what only a call needs is loaded by the first one.
        from comfybridge import dify  # noqa: PLC0415

        yield from dify.cancel_job(self, tool_parameters)
