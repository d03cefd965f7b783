"""A ComfyUI stand-in that honours ComfyUI's contract and paints test cards."""

from comfybridge.simulator.simulator import Simulator

__all__ = ["Simulator"]
