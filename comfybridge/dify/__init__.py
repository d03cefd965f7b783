"""Dify's front: a tool call becomes a generation, its events and files become Dify's messages."""

from comfybridge.dify.calls import cancel_job, get_result, run_workflow, text2image, validate

__all__ = ["cancel_job", "get_result", "run_workflow", "text2image", "validate"]
