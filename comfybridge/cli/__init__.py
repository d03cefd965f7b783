"""The ``comfybridge`` command."""

from comfybridge.cli.commands import main

__all__ = ["main"]
