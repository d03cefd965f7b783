"""Dify's front: a tool call becomes a generation, its events and files become Dify's messages."""

from comfybridge.dify.calls import (
    cancel_job,
    get_result,
    image2image,
    image2video,
    inpaint,
    run_workflow,
    server_info,
    text2audio,
    text2image,
    text2video,
    upscale,
    validate,
)

__all__ = [
    "cancel_job",
    "get_result",
    "image2image",
    "image2video",
    "inpaint",
    "run_workflow",
    "server_info",
    "text2audio",
    "text2image",
    "text2video",
    "upscale",
    "validate",
]
