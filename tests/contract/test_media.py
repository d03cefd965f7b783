"""Video, sound and animated pictures: what they are called, reported as and made of, and files that are broken."""

import io
from typing import Any

import pytest
import requests
from PIL import Image

from tests.contract import graphs, media
from tests.contract.server import Frame, Prompt, Server

Node = dict[str, Any]

_REFUSED_AT_ONCE = pytest.mark.one_server("what no node can load is refused when it is uploaded")


def node(class_type: str, **inputs: Any) -> Node:
    return {"class_type": class_type, "inputs": inputs}


def pictures(count: int, width: int = 64, height: int = 48) -> Node:
    return node("EmptyImage", width=width, height=height, batch_size=count, color=graphs.any_color())


def silence(seconds: float = 1.0, *, rate: int = 44100, channels: int = 2) -> Node:
    return node("EmptyAudio", duration=seconds, sample_rate=rate, channels=channels)


def saved_video(source: Node, prefix: str, **more: Node) -> Prompt:
    return {
        "1": source,
        "9": node("SaveVideo", video=["1", 0], filename_prefix=prefix, format="auto", codec="auto"),
        **more,
    }


def output(server: Server, prompt: Prompt) -> tuple[Frame, requests.Response]:
    """Run a prompt whose node 9 saves one file: what node 9 reports, and the file as served."""
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)
        frames = socket.to_the_end(prompt_id)
    entry = server.finished(prompt_id)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    reported: Frame = entry["outputs"]["9"]
    sent = [frame["data"] for frame in frames if frame["type"] == "executed" and frame["data"]["node"] == "9"]
    assert [data["output"] for data in sent] == [reported]
    (item,) = next(items for name, items in reported.items() if name != "animated")
    return reported, server.get("/view", params=item)


def error(server: Server, prompt: Prompt) -> Frame:
    entry = server.run(prompt, client_id="me")
    kind, data = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    failed: Frame = data
    return failed


def upload(server: Server, suffix: str, content: bytes) -> str:
    name = f"contract-{graphs.unique()}{suffix}"
    assert server.upload(name, content).json() == {"name": name, "subfolder": "", "type": "input"}
    return name


@pytest.mark.parametrize(
    ("class_type", "inputs", "suffix", "kind"),
    [
        ("SaveAnimatedWEBP", {"lossless": True, "quality": 80, "method": "default"}, "webp", "WEBP"),
        ("SaveAnimatedPNG", {"compress_level": 4}, "png", "PNG"),
    ],
)
def test_animated_picture(server: Server, class_type: str, inputs: dict[str, Any], suffix: str, kind: str) -> None:
    prefix = f"contract-{graphs.unique()}"
    save = node(class_type, images=["2", 0], filename_prefix=f"animated/{prefix}", fps=4.0, **inputs)
    both = node("ImageBatch", image1=["1", 0], image2=["3", 0])
    prompt = {"1": pictures(1), "3": pictures(1), "2": both, "9": save}

    reported, answer = output(server, prompt)

    name = f"{prefix}_00001_.{suffix}"
    assert reported == {
        "images": [{"filename": name, "subfolder": "animated", "type": "output"}],
        "animated": [True],
    }
    assert answer.headers["Content-Type"] == f"image/{suffix}"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size, getattr(image, "n_frames", 1)) == (kind, (64, 48), 2)
        image.load()
        assert image.info["duration"] == 250
        if kind == "WEBP":
            assert image.getexif()[0x0110].startswith('prompt:{"1": ')


def test_single_picture_is_not_animated(server: Server) -> None:
    prefix = f"contract-{graphs.unique()}"
    save = node("SaveAnimatedPNG", images=["1", 0], filename_prefix=prefix, fps=4.0, compress_level=4)

    reported, _ = output(server, {"1": pictures(1), "9": save})

    assert reported == {"images": [{"filename": f"{prefix}_00001_.png", "subfolder": "", "type": "output"}]}


@pytest.mark.parametrize("has_sound", [False, True])
def test_video(server: Server, *, has_sound: bool) -> None:
    prefix = f"contract-{graphs.unique()}"
    create = node("CreateVideo", images=["2", 0], fps=10.0, **({"audio": ["3", 0]} if has_sound else {}))
    more = {"2": pictures(5), **({"3": silence(2.0)} if has_sound else {})}

    reported, answer = output(server, saved_video(create, f"video/{prefix}", **more))

    name = f"{prefix}_00001_.mp4"
    assert reported == {"images": [{"filename": name, "subfolder": "video", "type": "output"}], "animated": [True]}
    assert (answer.headers["Content-Type"], answer.content[4:8]) == ("video/mp4", b"ftyp")
    video = media.video(answer.content)
    assert (video.codec, video.size, video.frames, video.rate) == ("h264", (64, 48), 5, 10.0)
    assert video.sound == ("aac" if has_sound else None)
    assert '"class_type": "SaveVideo"' in video.metadata["prompt"]


def test_video_goes_on_counting(server: Server) -> None:
    prefix = f"contract-{graphs.unique()}"
    for number in (1, 2):
        create = node("CreateVideo", images=["2", 0], fps=10.0 + number)
        reported, _ = output(server, saved_video(create, prefix, **{"2": pictures(1)}))

        assert reported["images"][0]["filename"] == f"{prefix}_0000{number}_.mp4"


def test_h264_takes_no_odd_size(server: Server) -> None:
    create = node("CreateVideo", images=["2", 0], fps=10.0)

    failed = error(server, saved_video(create, f"contract-{graphs.unique()}", **{"2": pictures(2, 63, 47)}))

    assert (failed["node_type"], failed["exception_type"]) == ("SaveVideo", "av.error.ExternalError")


@pytest.mark.parametrize(("codec", "name"), [("vp9", "vp9"), ("av1", "libdav1d")])
def test_webm(server: Server, codec: str, name: str) -> None:
    prefix = f"contract-{graphs.unique()}"
    save = node("SaveWEBM", images=["1", 0], filename_prefix=prefix, codec=codec, fps=8.0, crf=32.0)

    reported, answer = output(server, {"1": pictures(4, 96, 64), "9": save})

    file = {"filename": f"{prefix}_00001_.webm", "subfolder": "", "type": "output"}
    assert reported == {"images": [file], "animated": [True]}
    assert (answer.headers["Content-Type"], answer.content[:4]) == ("video/webm", b"\x1a\x45\xdf\xa3")
    video = media.video(answer.content)
    assert (video.codec, video.size, video.frames, video.rate) == (name, (96, 64), 4, 8.0)


@pytest.mark.parametrize(
    ("class_type", "inputs", "rate", "suffix", "magic", "kept"),
    [
        ("SaveAudio", {}, 44100, "flac", b"fLaC", 44100),
        ("SaveAudioMP3", {"quality": "V0"}, 44100, "mp3", b"ID3", 44100),
        ("SaveAudioMP3", {"quality": "128k"}, 44100, "mp3", b"ID3", 44100),
        ("SaveAudioOpus", {"quality": "96k"}, 44100, "opus", b"OggS", 48000),
        ("SaveAudioOpus", {"quality": "128k"}, 11025, "opus", b"OggS", 48000),
    ],
)
def test_sound(
    server: Server, class_type: str, inputs: dict[str, Any], rate: int, suffix: str, magic: bytes, kept: int
) -> None:
    prefix = f"contract-{graphs.unique()}"
    save = node(class_type, audio=["1", 0], filename_prefix=f"audio/{prefix}", **inputs)

    reported, answer = output(server, {"1": silence(1.0, rate=rate), "9": save})

    name = f"{prefix}_00001_.{suffix}"
    assert reported == {"audio": [{"filename": name, "subfolder": "audio", "type": "output"}]}
    assert answer.content.startswith(magic)
    assert answer.headers["Content-Type"].partition("/")[0] == "audio"
    sound = media.sound(answer.content)
    assert (sound.rate, sound.channels, round(sound.seconds, 1)) == (kept, 2, 1.0)


def test_preview_of_a_sound_is_temporary(server: Server) -> None:
    reported, answer = output(server, {"1": silence(0.5, channels=1), "9": node("PreviewAudio", audio=["1", 0])})

    ((name, files),) = reported.items()
    assert (name, files[0]["type"], files[0]["subfolder"]) == ("audio", "temp", "")
    assert files[0]["filename"].startswith("ComfyUI_temp_")
    assert media.sound(answer.content).channels == 1


@pytest.mark.one_server("only files with a filename of their own are kept")
def test_preview_of_a_mesh_names_the_file(server: Server) -> None:
    prompt = {
        "1": pictures(1),
        "8": node("Preview3D", model_file="mesh/a.glb"),
        "9": node("Preview3D", model_file="mesh/b.glb", bg_image=["1", 0]),
    }

    outputs = server.run(prompt, client_id="me")["outputs"]

    assert outputs["8"] == {"result": ["mesh/a.glb", None, None]}
    (path, camera, background) = outputs["9"]["result"]
    assert (path, camera, background.partition("_")[0]) == ("mesh/b.glb", None, "temp/bg")
    shown = server.get("/view", params={"filename": background.removeprefix("temp/"), "type": "temp"})
    assert shown.content.startswith(b"\x89PNG")


def test_preview_of_a_mask_is_not_animated(server: Server) -> None:
    mask = node("SolidMask", value=0.4, width=30, height=20)

    outputs = server.run({"1": mask, "9": node("MaskPreview", mask=["1", 0])}, client_id="me")["outputs"]

    assert outputs["9"]["animated"] == [False]
    with Image.open(io.BytesIO(server.get("/view", params=outputs["9"]["images"][0]).content)) as image:
        assert (image.size, image.getpixel((1, 1))) == ((30, 20), (102, 102, 102))
        assert "prompt" not in image.info


def test_files_count_as_outputs_of_a_job(server: Server) -> None:
    prefix = f"contract-{graphs.unique()}"
    prompt = {
        "1": silence(),
        "2": node("SaveAudio", audio=["1", 0], filename_prefix=prefix),
        "3": node("PreviewAny", source=["4", 0]),
        "4": node("PrimitiveString", value=prefix),
    }
    entry = server.run(prompt, client_id="me")

    job = server.get(f"/api/jobs/{entry['prompt'][1]}").json()

    assert entry["outputs"]["3"] == {"text": [prefix]}
    assert job["outputs_count"] == 1
    assert job["preview_output"] == {
        "filename": f"{prefix}_00001_.flac",
        "subfolder": "",
        "type": "output",
        "nodeId": "2",
        "mediaType": "audio",
    }


def test_uploads_are_listed_by_kind(server: Server) -> None:
    sound, video = upload(server, ".wav", media.wav()), upload(server, ".mp4", media.mp4())

    listed = {}
    for class_type, name in (("LoadAudio", "audio"), ("LoadVideo", "file")):
        info = server.get(f"/object_info/{class_type}").json()[class_type]
        kind, settings = info["input"]["required"][name]
        assert kind == "COMBO"
        listed[class_type] = [option for option in settings["options"] if option in (sound, video)]

    assert sorted(listed["LoadAudio"]) == sorted([sound, video])
    assert listed["LoadVideo"] == [video]
    images = server.get("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"][0]
    assert not {sound, video} & set(images)


def test_uploaded_sound_is_saved_again(server: Server) -> None:
    name = upload(server, ".wav", media.wav(1.5))
    save = node("SaveAudio", audio=["1", 0], filename_prefix=f"contract-{graphs.unique()}")

    _, answer = output(server, {"1": node("LoadAudio", audio=name), "9": save})

    sound = media.sound(answer.content)
    assert (sound.rate, sound.channels, round(sound.seconds, 2)) == (media.RATE, 1, 1.5)
    assert sound.loudest == pytest.approx(8000 / 32768, abs=0.01)


def test_uploaded_video_is_copied(server: Server) -> None:
    name = upload(server, ".mp4", media.mp4(7))

    _, answer = output(server, saved_video(node("LoadVideo", file=name), f"contract-{graphs.unique()}"))

    video = media.video(answer.content)
    assert (video.codec, video.size, video.frames, video.rate) == ("h264", (64, 48), 7, 10.0)
    assert "prompt" in video.metadata


def test_uploaded_video_comes_apart(server: Server) -> None:
    name = upload(server, ".mp4", media.mp4(3))
    prompt = {
        "1": node("LoadVideo", file=name),
        "2": node("GetVideoComponents", video=["1", 0]),
        "3": graphs.save("2"),
        "4": node("PreviewAny", source=["2", 2]),
    }

    outputs = server.run(prompt, client_id="me")["outputs"]

    assert outputs["4"]["text"] == ["10.0"]
    contents = [server.get("/view", params=image).content for image in outputs["3"]["images"]]
    with Image.open(io.BytesIO(contents[2])) as image:
        red, green, blue = image.convert("RGB").getpixel((10, 10))  # type: ignore[misc]  # a colour of three
        assert image.size == (64, 48)
        assert abs(red - 40) < 8
        assert max(green, blue) < 8
    assert len(contents) == 3


@pytest.mark.one_server("files that are named inside another value stay where they are")
def test_uploaded_mesh_is_shown_as_the_viewport_saw_it(server: Server) -> None:
    name = f"contract-{graphs.unique()}.glb"
    stored = server.upload(name, b"glTF", subfolder="3d").json()
    shots = {}
    for number, shot in enumerate(("image", "mask", "normal")):
        buffer = io.BytesIO()
        Image.new("RGBA", (20 + number, 10), (9, 8, 7, 255)).save(buffer, "PNG")
        shots[shot] = upload(server, ".png", buffer.getvalue())
    view = {**shots, "recording": "", "camera_info": {"zoom": 1}}
    prompt = {
        "1": node("Load3D", model_file=f"3d/{name}", image=view, width=64, height=64),
        "2": graphs.save("1"),
        "3": node("SaveImage", images=["1", 3], filename_prefix=f"contract-{graphs.unique()}"),
        "9": node("Preview3D", model_file=["1", 2], camera_info=["1", 4]),
    }

    outputs = server.run(prompt, client_id="me")["outputs"]

    assert stored == {"name": name, "subfolder": "3d", "type": "input"}
    assert outputs["9"] == {"result": [f"3d/{name}", {"zoom": 1}, None]}
    sizes = []
    for saved in ("2", "3"):
        content = server.get("/view", params=outputs[saved]["images"][0]).content
        with Image.open(io.BytesIO(content)) as image:
            sizes.append(image.size)
    assert sizes == [(20, 10), (22, 10)]


@pytest.mark.parametrize(
    ("class_type", "inputs", "details"),
    [
        ("LoadAudio", {"audio": "missing.wav"}, "audio - Invalid audio file: missing.wav"),
        ("LoadVideo", {"file": "missing.mp4"}, "file - Invalid video file: missing.mp4"),
    ],
)
def test_missing_file_is_refused(server: Server, class_type: str, inputs: dict[str, str], details: str) -> None:
    loader = node(class_type, **inputs)
    if class_type == "LoadAudio":
        prompt = {"1": loader, "9": node("SaveAudio", audio=["1", 0], filename_prefix="contract")}
    else:
        prompt = saved_video(loader, "contract")

    (found,) = server.reject(prompt)["node_errors"]["1"]["errors"]

    assert (found["type"], found["details"]) == ("custom_validation_failed", details)


@pytest.mark.parametrize(
    ("suffix", "content", "exception_type", "message"),
    [
        pytest.param(
            ".mp3",
            b"no sound at all",
            "av.error.InvalidDataError",
            "Invalid data found when processing input",
            marks=_REFUSED_AT_ONCE,
        ),
        (".mp4", media.mp4(2), "ValueError", "No audio stream found in the file."),
    ],
    ids=["broken", "mute"],
)
def test_sound_that_cannot_be_loaded(
    server: Server, suffix: str, content: bytes, exception_type: str, message: str
) -> None:
    name = upload(server, suffix, content)
    prompt = {
        "1": node("LoadAudio", audio=name),
        "9": node("SaveAudio", audio=["1", 0], filename_prefix="contract"),
    }

    failed = error(server, prompt)

    assert (failed["node_id"], failed["exception_type"]) == ("1", exception_type)
    assert message in failed["exception_message"]


@pytest.mark.parametrize(
    ("suffix", "content", "exception_type"),
    [
        pytest.param(".mp4", b"no video at all", "av.error.InvalidDataError", marks=_REFUSED_AT_ONCE),
        (".wav", media.wav(), "ValueError"),
    ],
    ids=["broken", "sound"],
)
def test_video_that_cannot_be_saved(server: Server, suffix: str, content: bytes, exception_type: str) -> None:
    name = upload(server, suffix, content)

    failed = error(server, saved_video(node("LoadVideo", file=name), "contract"))

    assert (failed["node_id"], failed["exception_type"]) == ("9", exception_type)


@pytest.mark.parametrize(
    ("class_type", "inputs", "channels", "seconds"),
    [
        ("TrimAudioDuration", {"audio": ["1", 0], "start_index": -1.0, "duration": 0.5}, 2, 0.5),
        ("SplitAudioChannels", {"audio": ["1", 0]}, 1, 2.0),
        ("AudioConcat", {"audio1": ["1", 0], "audio2": ["2", 0], "direction": "before"}, 2, 3.0),
        ("AudioMerge", {"audio1": ["1", 0], "audio2": ["1", 0], "merge_method": "mean"}, 2, 2.0),
        ("AudioAdjustVolume", {"audio": ["1", 0], "volume": -6}, 2, 2.0),
    ],
)
def test_cut_and_joined_sound(
    server: Server, class_type: str, inputs: dict[str, Any], channels: int, seconds: float
) -> None:
    save = node("SaveAudio", audio=["3", 0], filename_prefix=f"contract-{graphs.unique()}")
    prompt = {"1": silence(2.0), "2": silence(1.0, rate=22050, channels=1), "3": node(class_type, **inputs), "9": save}

    _, answer = output(server, prompt)

    sound = media.sound(answer.content)
    assert (sound.channels, round(sound.seconds, 1)) == (channels, seconds)


def test_volume_and_sum_change_what_is_heard(server: Server) -> None:
    name = upload(server, ".wav", media.wav())
    prompt = {
        "1": node("LoadAudio", audio=name),
        "2": node("AudioAdjustVolume", audio=["1", 0], volume=-6),
        "3": node("AudioMerge", audio1=["1", 0], audio2=["2", 0], merge_method="subtract"),
        "9": node("SaveAudio", audio=["3", 0], filename_prefix=f"contract-{graphs.unique()}"),
    }

    _, answer = output(server, prompt)

    assert media.sound(answer.content).loudest == pytest.approx(8000 / 32768 * (1 - 10**-0.3), abs=0.01)
