"""What travels along the links of a graph while the simulator evaluates it."""

from dataclasses import dataclass, field

from PIL import Image


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

    picture: what was encoded into it; ``None`` for an empty latent.
    sampling: the last sampler that worked on it; ``None`` before any did.
    """

    width: int
    height: int
    batch: int = 1
    picture: Picture | None = field(default=None, repr=False)
    sampling: Sampling | None = None
