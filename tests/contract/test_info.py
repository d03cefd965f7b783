"""What a server says about itself."""

import pytest

from tests.contract.server import Server

_BY_ITS_OWN_NAME = pytest.mark.one_server("without a key it is there for this machine's own names only")
_NO_SANDBOX = pytest.mark.one_server("without a key nobody is let in from a page that says not whose it is")


def test_definition_of_a_class(server: Server) -> None:
    (name, info), *others = server.get("/object_info/EmptyImage").json().items()

    assert (name, others) == ("EmptyImage", [])
    assert info["input"]["required"]["width"] == ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]
    assert info["input_order"] == {"required": ["width", "height", "batch_size", "color"]}
    assert (info["output"], info["output_is_list"], info["output_name"]) == (["IMAGE"], [False], ["IMAGE"])
    assert info["output_node"] is False


def test_definition_of_an_output_node(server: Server) -> None:
    info = server.get("/object_info/SaveImage").json()["SaveImage"]

    assert info["output_node"] is True
    assert info["input"]["hidden"] == {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


def test_unknown_class_has_no_definition(server: Server) -> None:
    answer = server.get("/object_info/NoSuchNode")

    assert (answer.status_code, answer.json()) == (200, {})


def test_all_definitions_are_the_single_ones(server: Server) -> None:
    definitions = server.get("/object_info").json()

    for class_type in ("KSampler", "SaveImage", "CLIPTextEncode", "EmptyLatentImage"):
        assert server.get(f"/object_info/{class_type}").json() == {class_type: definitions[class_type]}


def test_models_are_options_of_their_loaders(server: Server) -> None:
    folders = server.get("/models").json()
    assert {"checkpoints", "loras", "vae", "text_encoders", "diffusion_models", "upscale_models"} <= set(folders)
    loaders = server.get("/object_info/CheckpointLoaderSimple").json()

    files = server.get("/models/checkpoints").json()

    assert loaders["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] == files


def test_unknown_model_folder_is_not_found(server: Server) -> None:
    assert server.get("/models/nonsense").status_code == 404


@pytest.mark.parametrize("query", ["", "?filename=missing.safetensors", "?filename=a.ckpt"])
def test_metadata_of_a_missing_model_is_not_found(server: Server, query: str) -> None:
    assert server.get(f"/view_metadata/checkpoints{query}").status_code == 404


def test_system_stats(server: Server) -> None:
    stats = server.get("/system_stats").json()

    assert set(stats) == {"system", "devices"}
    assert stats["system"]["comfyui_version"][0].isdigit()
    assert {"os", "ram_total", "ram_free", "python_version", "pytorch_version", "argv"} <= set(stats["system"])
    names = {"name", "type", "index", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
    assert set(stats["devices"][0]) == names


def test_front_page_is_html(server: Server) -> None:
    answer = server.get("/")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "path",
    [
        "/prompt",
        "/queue",
        "/history?max_items=1",
        "/object_info/KSampler",
        "/models",
        "/models/loras",
        "/embeddings",
        "/features",
    ],
)
def test_every_route_is_also_under_api(server: Server, path: str) -> None:
    bare, under_api = server.get(path), server.get("/api" + path)

    assert bare.status_code == under_api.status_code == 200
    assert bare.json() == under_api.json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/upload/image", 404),
        ("GET", "/interrupt", 404),
        ("HEAD", "/nowhere", 404),
        ("POST", "/nowhere", 405),
        ("PUT", "/prompt", 405),
        ("DELETE", "/queue", 405),
        ("HEAD", "/queue", 200),
        ("OPTIONS", "/prompt", 200),
    ],
)
def test_route_that_is_not_there(server: Server, method: str, path: str, status: int) -> None:
    assert server.request(method, path).status_code == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        pytest.param("comfy.example:8188", "http://elsewhere.example", 200, marks=_BY_ITS_OWN_NAME),
        ("localhost:8188", "http://127.0.0.1:8188", 403),
        ("localhost:8188", "http://localhost:8188", 200),
        ("127.0.0.1:8188", "http://127.0.0.1", 200),
        ("127.0.0.1", "http://127.0.0.1:8188", 200),
        ("127.0.0.1:8188", "http://127.0.0.1:9999", 403),
        pytest.param("127.0.0.1:8188", "null", 200, marks=_NO_SANDBOX),
    ],
)
def test_origin_counts_on_loopback_only(server: Server, host: str, origin: str, status: int) -> None:
    answer = server.get("/queue", headers={"Host": host, "Origin": origin})

    assert answer.status_code == status
