"""Which model files the simulated server says it has."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

Metadata: TypeAlias = Mapping[str, str]
Catalogue: TypeAlias = Mapping[str, Sequence[str] | Mapping[str, Metadata | None]]
"""Folder -> file names, or folder -> file name -> its safetensors ``__metadata__``."""

FOLDERS = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "latent_upscale_models",
    "custom_nodes", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders",
)  # fmt: skip

PRESETS: Mapping[str, Mapping[str, Mapping[str, Metadata | None]]] = {
    "z-image-turbo": {
        "diffusion_models": {"z_image_turbo_bf16.safetensors": None},
        "text_encoders": {"qwen_3_4b.safetensors": None},
        "vae": {"ae.safetensors": None},
    },
    "sdxl": {
        "checkpoints": {
            "sd_xl_base_1.0.safetensors": {
                "modelspec.sai_model_spec": "1.0.0",
                "modelspec.architecture": "stable-diffusion-xl-v1-base",
                "modelspec.title": "Stable Diffusion XL 1.0 Base",
                "modelspec.resolution": "1024x1024",
            },
        },
    },
    "sd15": {
        "checkpoints": {
            "v1-5-pruned-emaonly-fp16.safetensors": {
                "modelspec.sai_model_spec": "1.0.0",
                "modelspec.architecture": "stable-diffusion-v1",
                "modelspec.title": "Stable Diffusion 1.5",
                "modelspec.resolution": "512x512",
            },
        },
    },
    "loras": {
        "loras": {
            "film_grain.safetensors": {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
            "ink_sketch.safetensors": {"modelspec.architecture": "stable-diffusion-v1/lora"},
        },
    },
}


class Models:
    """The files per folder, in ComfyUI's order of folders, sorted by name as ComfyUI lists them."""

    def __init__(self, chosen: Catalogue | Iterable[str]) -> None:
        catalogues: Iterable[Catalogue]
        if isinstance(chosen, Mapping):
            catalogues = (chosen,)
        else:
            names = (chosen,) if isinstance(chosen, str) else tuple(chosen)
            if unknown := [name for name in names if name not in PRESETS]:
                raise ValueError(f"no model preset {unknown[0]!r}; there are {', '.join(PRESETS)}")
            catalogues = (PRESETS[name] for name in names)
        self._folders: dict[str, dict[str, Metadata | None]] = {folder: {} for folder in FOLDERS}
        for catalogue in catalogues:
            for folder, listed in catalogue.items():
                named = listed if isinstance(listed, Mapping) else dict.fromkeys(listed)
                self._folders.setdefault(folder, {}).update(named)

    @property
    def folders(self) -> list[str]:
        return list(self._folders)

    def files(self, folder: str) -> list[str] | None:
        """Name the files of a folder; ``None`` for a folder ComfyUI does not know."""
        named = self._folders.get(folder)
        return None if named is None else sorted(named)

    def metadata(self, folder: str, file_name: str) -> Metadata | None:
        return self._folders.get(folder, {}).get(file_name)
