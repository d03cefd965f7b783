"""Pictures in the form that is wanted, from a simulated server that re-encodes them with Pillow as ComfyUI does."""

import io
from typing import Any

import pytest
from PIL import Image

from comfybridge import fetching, jobs
from comfybridge.client import Client
from comfybridge.convert import read_saved
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, Failed
from comfybridge.jobs import Job, OutputFile
from comfybridge.media import image_size
from comfybridge.messages import Output
from comfybridge.pictures import Form
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import Respond, TruncateView
from tests.core.making import Connect, make
from tests.core.raw_server import RawServer, Reply
from tests.core.test_pictures import PICTURES, noise, png, saved

WEBP, JPEG, BARE = Form("webp"), Form("jpeg"), Form(keep_metadata=False)
LARGE = png(noise(side=400))


@pytest.fixture
def client(comfyui: Simulator, connect: Connect) -> Client:
    return connect(comfyui.url)


@pytest.fixture
def job(client: Client) -> Job:
    outcome = make(client, seed=1).outcome
    assert outcome is not None
    return outcome.jobs[0]


@pytest.fixture
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of 400 pixels is too large as PNG and not as JPEG, and none fits into its beginning."""
    monkeypatch.setattr(fetching, "LARGEST_PICTURE", 250_000)
    monkeypatch.setattr(fetching, "_BEGINNING", 3_000)


def put(comfyui: Simulator, data: bytes, filename: str) -> Output:
    (comfyui.folder / "output" / filename).write_bytes(data)
    return Output("9", filename, "", "output")


def views(comfyui: Simulator) -> list[str]:
    """What was asked of each ``/view`` since the picture of the job itself."""
    asked = [request.query.get("preview", "") for request in comfyui.requests if request.path == "/view"]
    return asked[1:]


def opened(file: OutputFile) -> Image.Image:
    return Image.open(io.BytesIO(file.data))


def fetch(job: Job, output: Output, form: Form) -> OutputFile:
    return fetching.fetch(job, output, Deadline(10), form)


def test_picture_as_it_was_saved_is_asked_for_once(job: Job, comfyui: Simulator) -> None:
    file = fetch(job, put(comfyui, LARGE, "a.png"), Form())

    assert (file.data, file.filename, file.mime, file.notes) == (LARGE, "a.png", "image/png", ())
    assert file.view == "filename=a.png&subfolder=&type=output"
    assert views(comfyui) == [""]


@pytest.mark.parametrize(("form", "kind", "extension"), [(WEBP, "WEBP", "webp"), (JPEG, "JPEG", "jpg")])
@pytest.mark.parametrize("data", [LARGE, png(noise("RGBA"))], ids=["large", "small"])
def test_picture_comes_in_the_format_that_is_wanted(
    form: Form, kind: str, extension: str, data: bytes, job: Job, comfyui: Simulator
) -> None:
    file = fetch(job, put(comfyui, data, "a.png"), form)

    assert opened(file).format == kind
    assert image_size(file.data) == opened(file).size == Image.open(io.BytesIO(data)).size
    assert (file.filename, file.mime, file.notes) == (f"a.{extension}", f"image/{form.format}", ())
    assert file.view == f"filename=a.png&subfolder=&type=output&preview={form.format}%3B90"
    assert views(comfyui) == ["", f"{form.format};90"]


@pytest.mark.parametrize(("name", "form"), [("a.webp", WEBP), ("a.jpg", JPEG), ("a.JPEG", JPEG)])
def test_picture_that_has_the_format_is_not_packed_again(name: str, form: Form, job: Job, comfyui: Simulator) -> None:
    data = PICTURES["webp" if form is WEBP else "jpeg"]

    assert fetch(job, put(comfyui, data, name), form).data == data
    assert views(comfyui) == [""]


@pytest.mark.parametrize(
    ("name", "filename"), [("moving png", "a.png"), ("moving webp", "a.webp"), ("moving gif", "a.gif")]
)
@pytest.mark.parametrize("form", [Form(), JPEG])
@pytest.mark.usefixtures("_small_limits")
def test_what_moves_goes_on_moving(
    name: str, filename: str, form: Form, job: Job, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LARGEST_PICTURE", 1000)
    file = fetch(job, put(comfyui, PICTURES[name], filename), form)

    assert file.data == PICTURES[name]
    assert not any(views(comfyui))
    assert bool(file.notes) == (filename != "a.gif")


@pytest.mark.usefixtures("_small_limits")
class TestTooLarge:
    def test_webp_comes_instead_and_the_answer_says_so(self, job: Job, comfyui: Simulator) -> None:
        file = fetch(job, put(comfyui, LARGE, "a.png"), Form())

        assert (opened(file).format, image_size(file.data), file.filename) == ("WEBP", (400, 400), "a.webp")
        ((english, chinese),) = file.notes
        assert "15 MiB came as WebP" in english
        assert "已转为 WebP" in chinese
        assert views(comfyui) == ["", "webp;90"]

    def test_jpeg_comes_where_webp_cannot_be_had(self, job: Job, comfyui: Simulator) -> None:
        output = put(comfyui, LARGE, "a.png")
        refusing = Respond("/view", status=500)
        with pytest.MonkeyPatch.context() as patch:
            asked = job.client.preview

            def preview(output: Output, wanted: str, *rest: Any, **more: Any) -> bytes | None:
                if wanted.startswith("webp"):
                    comfyui.inject(refusing, times=1)
                return asked(output, wanted, *rest, **more)

            patch.setattr(job.client, "preview", preview)
            file = fetch(job, output, Form())

        assert opened(file).format == "JPEG"
        assert "came as JPEG" in file.notes[0][0]

    def test_original_comes_where_nothing_is_small_enough(
        self, job: Job, comfyui: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetching, "LARGEST_PICTURE", 4_000)
        file = fetch(job, put(comfyui, LARGE, "a.png"), Form())

        assert file.data == LARGE
        assert "larger than 15 MiB" in file.notes[0][0]
        assert views(comfyui) == ["", "webp;90", "jpeg;75", ""]

    def test_large_video_is_left_alone(self, job: Job, comfyui: Simulator) -> None:
        video = b"\0\0\0\x20ftypisom" + bytes(400_000)
        file = fetch(job, put(comfyui, video, "a.mp4"), Form())

        assert (file.data, file.notes) == (video, ())
        assert views(comfyui) == [""]

    def test_without_metadata_too(self, job: Job, comfyui: Simulator) -> None:
        file = fetch(job, put(comfyui, LARGE, "a.png"), BARE)

        assert opened(file).format == "WEBP"
        with pytest.raises(ComfyError):
            read_saved(file.data)


def test_no_more_than_the_beginning_of_a_large_file_is_waited_for(job: Job) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n"
    webp = PICTURES["webp"]
    small = f"HTTP/1.1 200 OK\r\nContent-Length: {len(webp)}\r\n\r\n".encode() + webp

    def say(line: str) -> Reply:
        # Of the original, the beginning comes and nothing more ever.
        return Reply(small) if "preview=webp" in line else Reply(head + LARGE + bytes(300_000), is_last=False)

    with RawServer(say) as server:
        other = Client(server.url)
        there = jobs.Job(prompt_id="p", client=other, filled=job.filled, listener=job.listener)
        file = fetch(there, Output("9", "a.png", "", "output"), Form())
        other.close()

    assert file.data == webp
    assert len(server.requests) == 2


class TestWithoutMetadata:
    @pytest.mark.parametrize(("name", "filename"), [("png", "a.png"), ("webp", "a.webp"), ("jpeg", "a.jpg")])
    def test_picture_holds_no_workflow(self, name: str, filename: str, job: Job, comfyui: Simulator) -> None:
        output = put(comfyui, PICTURES[name], filename)
        read_saved(fetch(job, output, Form()).data)

        file = fetch(job, output, BARE)

        with pytest.raises(ComfyError):
            read_saved(file.data)
        assert opened(file).tobytes() == Image.open(io.BytesIO(PICTURES[name])).tobytes()
        assert file.view is None
        assert views(comfyui) == ["", ""]

    def test_kind_that_cannot_be_freed_is_packed_by_comfyui(self, job: Job, comfyui: Simulator) -> None:
        data = saved(noise(), "TIFF", description="s3cr3t")
        file = fetch(job, put(comfyui, data, "a.tiff"), BARE)

        assert opened(file).format == "WEBP"
        assert b"s3cr3t" not in file.data

    def test_what_cannot_be_freed_at_all_is_kept_back(self, job: Job, comfyui: Simulator) -> None:
        broken = PICTURES["png"][:33] + b"\xff" * 4 + PICTURES["png"][37:]

        with pytest.raises(Failed, match="keep_metadata") as raised:
            fetch(job, put(comfyui, broken, "a.png"), BARE)
        assert raised.value.prompt_id == job.prompt_id

    @pytest.mark.parametrize(
        ("filename", "data"), [("a.mp4", b"\0\0\0\x20ftypisom" + bytes(9)), ("a.flac", b"fLaC123")]
    )
    def test_other_files_stay_and_the_answer_says_so(
        self, filename: str, data: bytes, job: Job, comfyui: Simulator
    ) -> None:
        file = fetch(job, put(comfyui, data, filename), BARE)

        assert file.data == data
        assert "Only pictures" in file.notes[0][0]

    def test_drawing_loses_its_metadata(self, job: Job, comfyui: Simulator) -> None:
        drawing = b'<svg xmlns="x"><metadata><![CDATA[{"prompt": 1}]]></metadata><rect/></svg>'

        assert fetch(job, put(comfyui, drawing, "a.svg"), BARE).data == b'<svg xmlns="x"><rect/></svg>'


def test_preview_is_asked_for_again_when_the_server_stumbles(job: Job, comfyui: Simulator) -> None:
    output = put(comfyui, LARGE, "a.png")
    comfyui.inject(Respond("/view", status=503), times=1)

    assert opened(fetch(job, output, WEBP)).format == "WEBP"


def test_truncated_picture_is_fetched_again(job: Job, comfyui: Simulator) -> None:
    comfyui.inject(TruncateView(), times=1)

    assert fetch(job, put(comfyui, LARGE, "a.png"), Form()).data == LARGE
