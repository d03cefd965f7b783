"""A saved workflow in any form -> the prompt that ComfyUI's own front end would send. Pure."""

from comfybridge.convert.conversion import Conversion, class_types, convert
from comfybridge.convert.files import read_saved

__all__ = ["Conversion", "class_types", "convert", "read_saved"]
