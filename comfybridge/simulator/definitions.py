"""The node classes the simulated server has, as its ``/object_info`` tells them.

``object_info.json`` is a recording of ComfyUI 0.8.0, reduced to the classes that library templates are made
of: pictures, video, sound, meshes and text, none of the partners' API nodes and nothing that trains or stores models;
lists of model and input files are empty in it and filled in here.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from comfybridge.declared import Definition, parse
from comfybridge.simulator.files import Files
from comfybridge.simulator.models import Models

MODEL_INPUTS = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("CheckpointLoader", "ckpt_name"): "checkpoints",
    ("unCLIPCheckpointLoader", "ckpt_name"): "checkpoints",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("VAELoader", "vae_name"): "vae",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name1"): "text_encoders",
    ("TripleCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name3"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name1"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name2"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name3"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name4"): "text_encoders",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("ControlNetLoader", "control_net_name"): "controlnet",
    ("DiffControlNetLoader", "control_net_name"): "controlnet",
    ("StyleModelLoader", "style_model_name"): "style_models",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("HypernetworkLoader", "hypernetwork_name"): "hypernetworks",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("ModelPatchLoader", "name"): "model_patches",
    ("GLIGENLoader", "gligen_name"): "gligen",
    ("PhotoMakerLoader", "photomaker_model_name"): "photomaker",
    ("ImageOnlyCheckpointLoader", "ckpt_name"): "checkpoints",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("LTXVAudioVAELoader", "ckpt_name"): "checkpoints",
    ("LTXAVTextEncoderLoader", "text_encoder"): "text_encoders",
    ("LTXAVTextEncoderLoader", "ckpt_name"): "checkpoints",
    ("AudioEncoderLoader", "audio_encoder_name"): "audio_encoders",
}
BUILT_IN_MODELS = {"VAELoader": ("pixel_space",)}
UPLOAD_INPUTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("LoadImage", "image"): ("image",),
    ("LoadImageMask", "image"): (),
    ("LoadAudio", "audio"): ("audio", "video"),
    ("LoadVideo", "file"): ("video",),
    ("Load3D", "model_file"): ("mesh",),
}
"""(class, input) -> the kinds of files that ComfyUI lists; all files where it names none."""


class Definitions:
    def __init__(self, models: Models, files: Files) -> None:
        text = resources.files("comfybridge.simulator").joinpath("object_info.json").read_text(encoding="utf-8")
        self._recorded: dict[str, dict[str, Any]] = json.loads(text)
        self._models = models
        self._files = files
        self._parsed: dict[str, Definition] = {}
        for class_type, name in MODEL_INPUTS:
            self._set_options(self._recorded[class_type], class_type, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._recorded)

    def __contains__(self, class_type: object) -> bool:
        return isinstance(class_type, str) and class_type in self._recorded

    def info(self, class_type: str) -> dict[str, Any]:
        """Describe a class as ``/object_info`` does, with the files uploaded so far."""
        recorded = self._recorded[class_type]
        uploads = [name for owner, name in UPLOAD_INPUTS if owner == class_type]
        if not uploads:
            return recorded
        info = copy.deepcopy(recorded)
        for name in uploads:
            self._set_options(info, class_type, name)
        return info

    def get(self, class_type: str) -> Definition:
        if class_type not in self._parsed:
            parsed = parse(class_type, self.info(class_type))
            if any(owner == class_type for owner, _ in UPLOAD_INPUTS):
                return parsed  # its options change with every upload
            self._parsed[class_type] = parsed
        return self._parsed[class_type]

    def _set_options(self, info: dict[str, Any], class_type: str, name: str) -> None:
        options = self._options(class_type, name)
        for category in ("required", "optional"):
            spec = info["input"].get(category, {}).get(name)
            if spec is None:
                continue
            if spec[0] == "COMBO":
                spec[1]["options"] = options
            else:
                spec[0] = options

    def _options(self, class_type: str, name: str) -> list[str]:
        if (class_type, name) in UPLOAD_INPUTS:
            return self._files.inputs(UPLOAD_INPUTS[class_type, name])
        files = self._models.files(MODEL_INPUTS[class_type, name]) or []
        return [*files, *BUILT_IN_MODELS.get(class_type, ())]
