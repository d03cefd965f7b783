from typing import Any

from dify_plugin import ToolProvider

from comfybridge import dify


class ComfyUIProvider(ToolProvider):
    def _validate_credentials(self, credentials: dict[str, Any]) -> None:
        dify.validate(credentials)
