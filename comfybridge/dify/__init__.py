"""Dify's front: a tool call becomes a generation, its events and files become Dify's messages."""

from comfybridge.dify.calls import run_workflow, text2image, validate

__all__ = ["run_workflow", "text2image", "validate"]
