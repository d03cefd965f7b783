"""What graphs with models come to besides single pictures, and pictures that follow an uploaded one."""

import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image, ImageChops, ImageDraw

from comfybridge.simulator import Simulator
from tests.contract import graphs, media
from tests.contract.server import Frame, Prompt, Server

MODELS = {
    "checkpoints": ["model.safetensors"],
    "upscale_models": ["1x-Denoise.pth", "RealESRGAN_x2plus.pth", "4x-UltraSharp.pth", "plain.pth"],
}
BLUE, GREEN = (10, 40, 200), (20, 160, 60)


@pytest.fixture
def server() -> Iterator[Server]:
    with Simulator(MODELS) as simulator:
        server = Server(simulator.url)
        yield server
        server.close()


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def sampled(latent: dict[str, Any], *, text: str = "a fox", **more: Any) -> Prompt:
    """A model, a prompt, a latent and a sampler: nodes 1 to 4."""
    sampler = {"seed": 1, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="model.safetensors"),
        "2": node("CLIPTextEncode", clip=["1", 1], text=text),
        "3": latent,
        "4": node("KSampler", **sampler | links | more),
    }


def picture(size: tuple[int, int] = (320, 256)) -> Image.Image:
    """Green, with a blue disc off its middle."""
    image = Image.new("RGB", size, GREEN)
    ImageDraw.Draw(image).ellipse((20, 20, 120, 120), fill=BLUE)
    return image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def files(server: Server, prompt: Prompt, output: str = "9") -> list[bytes]:
    entry: Frame = server.run(prompt, client_id="me")
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    items = next(items for name, items in entry["outputs"][output].items() if name != "animated")
    return [server.get("/view", params=item).content for item in items]


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


@pytest.mark.parametrize(
    ("class_type", "inputs", "size", "frames"),
    [
        ("EmptyHunyuanLatentVideo", {"width": 208, "height": 168, "length": 9}, (208, 168), 9),
        ("EmptyHunyuanLatentVideo", {"width": 64, "height": 64, "length": 11}, (64, 64), 9),
        ("EmptyLTXVLatentVideo", {"width": 200, "height": 130, "length": 20}, (192, 128), 17),
        ("EmptyMochiLatentVideo", {"width": 64, "height": 48, "length": 13}, (64, 48), 13),
    ],
)
def test_video_of_a_model(
    server: Server, class_type: str, inputs: dict[str, int], size: tuple[int, int], frames: int
) -> None:
    prompt = {
        **sampled(node(class_type, batch_size=1, **inputs)),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("CreateVideo", images=["5", 0], fps=12.0),
        "9": node("SaveVideo", video=["6", 0], filename_prefix="video/x", format="auto", codec="auto"),
        "10": graphs.save("5"),
    }

    (content,) = files(server, prompt)

    video = media.video(content)
    assert (video.size, video.frames, video.rate) == (size, frames, 12.0)
    shown = files(server, prompt, "10")
    assert len(set(shown)) == frames


def test_picture_to_video_has_the_size_asked_for(server: Server) -> None:
    server.upload("a.png", png(picture((300, 200))))
    latent = node("WanImageToVideo", width=176, height=160, length=5, batch_size=1, start_image=["7", 0])
    latent["inputs"] |= {"positive": ["2", 0], "negative": ["2", 0], "vae": ["1", 2]}
    prompt = {
        **sampled(latent, latent_image=["3", 2], positive=["3", 0], negative=["3", 1]),
        "7": node("LoadImage", image="a.png"),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "9": graphs.save("5"),
    }

    frames = [opened(content) for content in files(server, prompt)]

    assert [frame.size for frame in frames] == [(176, 160)] * 5


def test_sound_of_a_model_follows_prompt_and_seed(server: Server) -> None:
    def heard(**told: Any) -> bytes:
        prompt = {
            **sampled(node("EmptyAceStepLatentAudio", seconds=3.0, batch_size=1), **told),
            "5": node("VAEDecodeAudio", samples=["4", 0], vae=["1", 2]),
            "9": node("SaveAudio", audio=["5", 0], filename_prefix="audio/x"),
        }
        (content,) = files(server, prompt)
        sound = media.sound(content)
        assert (sound.rate, sound.channels, round(sound.seconds, 1)) == (44100, 2, 3.0)
        assert 0.1 < sound.loudest < 0.3
        return content[-10000:]

    assert heard(seed=1) != heard(seed=2)
    assert heard(text="a hare") != heard(text="a fox")


def test_mesh_of_a_model(server: Server) -> None:
    prompt = {
        **sampled(node("EmptyLatentHunyuan3Dv2", resolution=3072, batch_size=2)),
        "5": node("VAEDecodeHunyuan3D", samples=["4", 0], vae=["1", 2], num_chunks=8000, octree_resolution=256),
        "6": node("VoxelToMesh", voxel=["5", 0], algorithm="basic", threshold=0.6),
        "9": node("SaveGLB", mesh=["6", 0], filename_prefix="mesh/x"),
    }
    entry = server.run(prompt, client_id="me")

    named = ["x_00001_.glb", "x_00002_.glb"]
    assert entry["outputs"]["9"] == {
        "3d": [{"filename": name, "subfolder": "mesh", "type": "output"} for name in named]
    }
    described = media.gltf(server.get("/view", params=entry["outputs"]["9"]["3d"][1]).content)
    assert described["asset"]["version"] == "2.0"
    assert described["accessors"][1]["count"] == 24
    assert '"SaveGLB"' in described["asset"]["extras"]["prompt"]
    job = server.get(f"/api/jobs/{entry['prompt'][1]}").json()
    assert (job["outputs_count"], job["preview_output"]["mediaType"]) == (2, "3d")


@pytest.mark.parametrize(
    ("model", "factor"),
    [("1x-Denoise.pth", 1), ("RealESRGAN_x2plus.pth", 2), ("4x-UltraSharp.pth", 4), ("plain.pth", 4)],
)
def test_upscaled_picture_is_the_input_with_a_note(server: Server, model: str, factor: int) -> None:
    server.upload("a.png", png(picture()))
    prompt = {
        "1": node("UpscaleModelLoader", model_name=model),
        "2": node("LoadImage", image="a.png"),
        "3": node("ImageUpscaleWithModel", upscale_model=["1", 0], image=["2", 0]),
        "9": graphs.save("3"),
    }

    (content,) = files(server, prompt)

    upscaled = opened(content)
    assert upscaled.size == (320 * factor, 256 * factor)
    difference = ImageChops.difference(upscaled.resize((320, 256)), picture())
    left, top, right, bottom = difference.point(lambda level: 255 * (level > 90)).getbbox() or (0, 0, 0, 0)
    assert left > 160
    assert top > 200
    assert right <= 320
    assert bottom <= 256
    assert right > left


def test_inpainting_changes_the_masked_part_only(server: Server) -> None:
    mask = Image.new("L", (320, 256))
    ImageDraw.Draw(mask).rectangle((160, 40, 260, 140), fill=255)
    server.upload("a.png", png(picture()))
    server.upload("m.png", png(mask.convert("RGB")))
    prompt = {
        **sampled(node("VAEEncodeForInpaint", pixels=["7", 0], vae=["1", 2], mask=["8", 0], grow_mask_by=0)),
        "7": node("LoadImage", image="a.png"),
        "8": node("LoadImageMask", image="m.png", channel="red"),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "9": graphs.save("5"),
    }

    (content,) = files(server, prompt)

    painted = opened(content)
    assert painted.size == (320, 256)
    assert [painted.getpixel(at) for at in ((70, 70), (5, 5), (155, 90), (300, 90))] == [BLUE, GREEN, GREEN, GREEN]
    assert ImageChops.difference(painted, picture()).crop((160, 40, 260, 140)).getbbox() == (0, 0, 100, 100)


def test_noise_mask_works_like_the_encoder_s(server: Server) -> None:
    server.upload("a.png", png(picture()))
    prompt = {
        **sampled(node("SetLatentNoiseMask", samples=["6", 0], mask=["8", 0])),
        "6": node("VAEEncode", pixels=["7", 0], vae=["1", 2]),
        "7": node("LoadImage", image="a.png"),
        "8": node("SolidMask", value=0.0, width=320, height=256),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "9": graphs.save("5"),
    }

    (content,) = files(server, prompt)

    assert ImageChops.difference(opened(content), picture()).crop((0, 0, 320, 200)).getbbox() is None


@pytest.mark.parametrize("denoise", [0.2, 0.8])
def test_image_to_image_shows_the_input_the_more_the_less_noise(server: Server, denoise: float) -> None:
    server.upload("a.png", png(picture()))
    prompt = {
        **sampled(node("VAEEncode", pixels=["7", 0], vae=["1", 2]), denoise=denoise),
        "7": node("LoadImage", image="a.png"),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "9": graphs.save("5"),
    }

    (content,) = files(server, prompt)

    # A spot without text: the lower right of the disc.
    _, green, blue = opened(content).getpixel((100, 92))  # type: ignore[misc]  # a colour of three
    is_like_the_input = abs(blue - BLUE[2]) < 60 and abs(green - BLUE[1]) < 60
    assert is_like_the_input == (denoise < 0.5)


def test_numbers_go_through_to_outputs_of_their_name(server: Server) -> None:
    prompt = {
        "1": node(
            "WanCameraEmbedding", camera_pose="Pan Up", width=176, height=160, length=13, speed=1.0, fx=0.5, fy=0.5
        ),
        "9": node("PreviewAny", source=["1", 3]),
    }
    prompt["1"]["inputs"] |= {"cx": 0.5, "cy": 0.5}

    assert server.run(prompt, client_id="me")["outputs"]["9"]["text"] == ["13"]


def test_saved_workflows_are_served() -> None:
    saved: dict[str, object] = {"first": {"nodes": []}, "deep/zweiter ☃.json": {"nodes": [], "links": []}}
    with Simulator(workflows=saved) as simulator:
        listed = requests.get(f"{simulator.url}/userdata?dir=workflows&recurse=true", timeout=10).json()
        named = f"{simulator.url}/userdata/workflows%2Fdeep%2Fzweiter%20%E2%98%83.json"
        workflow = requests.get(named, timeout=10).json()

    assert sorted(listed) == ["deep/zweiter ☃.json", "first.json"]
    assert workflow == {"nodes": [], "links": []}


def test_workflow_s_name_stays_in_its_folder() -> None:
    with pytest.raises(ValueError, match="no name for a workflow"):
        Simulator(workflows={"../../../evil": {}})


def test_start_needs_no_pyav() -> None:
    code = (
        "import sys; from comfybridge.simulator import Simulator\n"
        "with Simulator(): pass\n"
        "raise SystemExit('av' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
