"""What is wrong between here and a ComfyUI server, one check after the other, in plain words."""

from comfybridge.diagnosis.examination import examine
from comfybridge.diagnosis.findings import Finding, State

__all__ = ["Finding", "State", "examine"]
