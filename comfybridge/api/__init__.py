"""Text to image as a function: ``comfybridge.connect(...)`` and what it gives."""

from comfybridge.api.comfy import Comfy
from comfybridge.api.connecting import connect
from comfybridge.api.job import Event, Job
from comfybridge.api.overall import ServerState
from comfybridge.api.result import File, Result
from comfybridge.api.rows import Done

__all__ = ["Comfy", "Done", "Event", "File", "Job", "Result", "ServerState", "connect"]
