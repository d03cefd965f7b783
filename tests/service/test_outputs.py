"""The files that nodes' outputs name, in the forms of ComfyUI and of custom packs."""

from typing import Any

import pytest

from comfybridge.messages import Output
from comfybridge.service.outputs import named, named_anew, viewed

FILE = {"filename": "a.png", "subfolder": "s", "type": "output"}


@pytest.mark.parametrize(
    "output",
    [
        {"images": [FILE]},
        {"images": [FILE], "animated": [True]},
        {"gifs": [{**FILE, "format": "video/h264-mp4", "frame_rate": 8.0, "workflow": "a.png"}]},
        {"3d": [FILE]},
        {"audio": [FILE], "text": ["s/a.png"]},
        {"video": FILE},
        {"comparison": [{"left": FILE, "right": {"frames": [FILE]}}]},
    ],
)
def test_files_are_found_in_every_form_and_named_anew(output: dict[str, Any]) -> None:
    assert named("1", output) == [Output("1", "a.png", "s", "output")]

    renamed = named_anew(output, {("output", "s", "a.png"): "b.png"})

    assert named("1", renamed) == [Output("1", "b.png", "s", "output")]
    assert named_anew(renamed, {("output", "s", "b.png"): "a.png"}) == output


@pytest.mark.parametrize(
    "output",
    [
        None,
        {"text": ["a.png"]},
        {"images": ["a.png", None, 1]},
        {"metadata": {"filename": "a.png"}},
        {"images": [{**FILE, "type": "elsewhere"}]},
        {"about": {"filename": 1, "subfolder": "", "type": "output"}},
    ],
)
def test_nothing_else_is_a_file(output: dict[str, Any] | None) -> None:
    assert named("1", output) == []


def test_3d_view_names_its_mesh_and_its_background() -> None:
    output = {"result": ["3d/mesh_00001_.glb", {"position": {"x": 1}}, "temp/bg_1.png"]}

    mesh, background = viewed("7", output)

    assert mesh == Output("7", "mesh_00001_.glb", "3d", "output")
    assert background == Output("7", "bg_1.png", "", "temp")
    renamed = named_anew(output, {("output", "3d", "mesh_00001_.glb"): "mesh_x_.glb"})
    assert renamed == {"result": ["3d/mesh_x_.glb", {"position": {"x": 1}}, "temp/bg_1.png"]}


@pytest.mark.parametrize("path", ["", "../../etc/passwd.txt", "/etc/passwd.txt", "mesh", "3d\\mesh.glb", None, 5])
def test_3d_view_of_no_path_names_nothing(path: Any) -> None:
    assert viewed("7", {"result": [path, None, None]}) == []
