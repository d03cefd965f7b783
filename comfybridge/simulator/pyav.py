"""What PyAV raises, as the failure of a node: much of it is neither an OSError nor a ValueError."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from comfybridge.simulator.call import NodeError, full_name

Given = ParamSpec("Given")
Result = TypeVar("Result")


def reported(work: Callable[Given, Result]) -> Callable[Given, Result]:
    """Turn what FFmpeg finds wrong into a NodeError that names PyAV's exception, as ComfyUI does."""

    @wraps(work)
    def worked(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        import av  # noqa: PLC0415

        try:
            return work(*args, **kwargs)
        except av.FFmpegError as fault:
            raise NodeError(str(fault), full_name(fault)) from fault

    return worked
