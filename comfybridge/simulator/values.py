"""What travels along the links of a graph while the simulator evaluates it."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image

if TYPE_CHECKING:
    from array import array

Samples: TypeAlias = "array[float]"
"""32-bit floats between -1 and 1, channels interleaved."""


@dataclass(frozen=True)
class Model:
    """A MODEL: only its file name and the LoRAs on it matter to a test card."""

    name: str
    loras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Named:
    """Anything else a file or a combo names: CLIP, VAE, SAMPLER, CONTROL_NET, …"""

    name: str


@dataclass(frozen=True)
class Conditioning:
    text: str


@dataclass(frozen=True)
class Noise:
    seed: int


@dataclass(frozen=True)
class Sigmas:
    steps: int
    scheduler: str = ""
    denoise: float = 1.0


@dataclass(frozen=True)
class Guider:
    model: Model
    positive: str
    negative: str = ""
    cfg: float = 1.0


@dataclass(frozen=True)
class Sampling:
    """What a sampler was asked for: all that a test card can tell."""

    positive: str
    negative: str
    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float
    model: Model


@dataclass(frozen=True)
class Picture:
    """An IMAGE: one batch of RGB(A) frames of equal size."""

    frames: tuple[Image.Image, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].size

    @property
    def width(self) -> int:
        return self.frames[0].width

    @property
    def height(self) -> int:
        return self.frames[0].height


@dataclass(frozen=True)
class Mask:
    """A MASK: one batch of L frames, 255 where the mask is set."""

    frames: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Latent:
    """A LATENT, measured in the pixels it will decode to.

    cells, stride: how many latent frames a video has, and how many pictures each but the first one decodes to.
    seconds: how long the sound is that it decodes to.
    picture: what was encoded into it; ``None`` for an empty latent.
    mask: where a sampler may change the picture; ``None`` for everywhere.
    sampling: the last sampler that worked on it; ``None`` before any did.
    """

    width: int
    height: int
    batch: int = 1
    cells: int = 1
    stride: int = 4
    seconds: float = 0.0
    picture: Picture | None = field(default=None, repr=False)
    mask: Mask | None = field(default=None, repr=False)
    sampling: Sampling | None = None

    @property
    def length(self) -> int:
        """How many pictures one video decodes to; 1 for a still."""
        return (self.cells - 1) * self.stride + 1


@dataclass(frozen=True)
class Sound:
    """An AUDIO: one batch of clips of equal length."""

    clips: tuple[Samples, ...] = field(repr=False)
    channels: int
    rate: int

    @property
    def length(self) -> int:
        """Samples per channel."""
        return len(self.clips[0]) // self.channels


@dataclass(frozen=True)
class Film:
    """A VIDEO that was put together from pictures."""

    picture: Picture
    rate: Fraction
    sound: Sound | None = None


@dataclass(frozen=True)
class FilmFile:
    """A VIDEO on disk: ComfyUI opens it when somebody wants something of it."""

    path: Path


@dataclass(frozen=True)
class Mesh:
    """A MESH or VOXEL: only how many there are matters."""

    count: int = 1
