from typing import Any

from dify_plugin import ToolProvider


class ComfyUIProvider(ToolProvider):
    def _validate_credentials(self, credentials: dict[str, Any]) -> None:
        # Loaded by the first call, as in the tools, so that the plugin starts sooner.
        from comfybridge import dify  # noqa: PLC0415

        dify.validate(credentials)
