"""What a call made: files, and all that is known of how."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, Self

from comfybridge.collecting import Outcome
from comfybridge.jobs import OutputFile
from comfybridge.media import image_size
from comfybridge.workflow import Prompt

# Endings that are one kind of file.
_SAME = {".jpeg": ".jpg", ".tif": ".tiff"}


@dataclass(frozen=True, slots=True)
class File:
    """One finished file; ``filename`` is ComfyUI's, with an extension that fits the bytes."""

    data: bytes
    filename: str
    mime: str

    def __repr__(self) -> str:
        return f"File({self.filename!r}, {self.mime!r}, {len(self.data)} bytes)"

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the file and say where.

        In a folder (one that is there, or a path that ends in ``/``) it gets its own name, with a number where that is
        taken. Under a name of yours it replaces what is there; an extension that is not the file's own is exchanged.
        Folders are made as needed.
        """
        target = Path(path)
        if target.is_dir() or str(path).endswith(("/", "\\")):
            target.mkdir(parents=True, exist_ok=True)
            return self._save_beside(target)
        target = with_extension(target, PurePath(self.filename).suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.data)
        return target

    def _save_beside(self, folder: Path) -> Path:
        own = PurePath(PurePath(self.filename).name or "file")
        number = 1
        while True:
            path = folder / (f"{own.stem}-{number}{own.suffix}" if number > 1 else own.name)
            try:
                with path.open("xb") as new:
                    new.write(self.data)
            except FileExistsError:
                number += 1
            else:
                return path


def with_extension(path: Path, extension: str) -> Path:
    """The path with this extension in place of another one; ``poster.v2`` has none."""
    given = path.suffix.lower()
    if _SAME.get(given, given) == _SAME.get(extension, extension):
        return path
    is_one = 1 < len(given) <= 5 and given[1:].isalnum() and not given[1:].isdecimal()  # noqa: PLR2004
    return path.with_suffix(extension) if is_one else path.with_name(path.name + extension)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A call that succeeded. ``images`` are those of ``files`` that are pictures.

    ``seed``, ``width`` and ``height`` are those of the first picture; ``None`` where there is none. ``template`` is
    ``name@version``, or the name of a workflow. ``prompts`` are the graphs as they were sent, one for each of
    ``prompt_ids``. ``notes`` tell in English and Chinese what was done otherwise than asked.
    """

    files: tuple[File, ...]
    texts: tuple[str, ...]
    seed: int | None
    prompt_ids: tuple[str, ...]
    server: str
    template: str
    model: str | None
    width: int | None
    height: int | None
    seconds: float
    prompts: tuple[Prompt, ...]
    notes: tuple[tuple[str, str], ...]
    made_by: str = "comfyui"

    @property
    def images(self) -> tuple[File, ...]:
        return tuple(file for file in self.files if file.mime.startswith("image/"))

    @property
    def prompt_id(self) -> str:
        """All ids with commas between them, as ``collect`` and ``cancel`` take them."""
        return ",".join(self.prompt_ids)

    @classmethod
    def of(cls, outcome: Outcome, files: Sequence[OutputFile]) -> Self:
        filled = outcome.jobs[0].filled
        sizes = (image_size(file.data) for file in files if file.mime.startswith("image/"))
        width, height = next((size for size in sizes if size is not None), (filled.width, filled.height))
        noted = [note for job in outcome.jobs for note in job.filled.notes]
        return cls(
            files=tuple(File(file.data, file.filename, file.mime) for file in files),
            texts=outcome.texts,
            seed=filled.seed,
            prompt_ids=tuple(job.prompt_id for job in outcome.jobs),
            server=outcome.jobs[0].client.base_url,
            template=filled.template.full_name,
            model=filled.model,
            width=width,
            height=height,
            seconds=outcome.seconds,
            prompts=tuple(job.graph for job in outcome.jobs),
            notes=tuple(dict.fromkeys([*(note for file in files for note in file.notes), *noted])),
        )

    def facts(self) -> dict[str, Any]:
        """What is known, without the bytes and the graphs, in JSON's own types."""
        return {
            "outcome": "succeeded",
            "prompt_id": self.prompt_id,
            "seed": self.seed,
            "server": self.server,
            "template": self.template,
            "model": self.model,
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "texts": list(self.texts),
            "notes": [{"en": english, "zh": chinese} for english, chinese in self.notes],
            "made_by": self.made_by,
        }
