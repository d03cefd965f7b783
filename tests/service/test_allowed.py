"""Which graphs a key with templates may send: what the core makes of those templates, and nothing beside it."""

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from PIL import Image

from comfybridge import filling, library
from comfybridge.errors import InvalidInput
from comfybridge.filling import Inputs
from comfybridge.media import InputFile, media_type
from comfybridge.service import allowed, keys
from comfybridge.simulator import Simulator
from comfybridge.simulator.definitions import Definitions as Recorded
from comfybridge.simulator.files import Files
from comfybridge.simulator.models import Models
from comfybridge.template import Template
from comfybridge.workflow import Definitions, Lora
from tests.contract import graphs
from tests.contract.server import Server
from tests.core.making import catalogue
from tests.service.running import are_well, database, gateway, worker

Graph = dict[str, Any]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Definitions:
    recorded = Recorded(Models(catalogue()), Files(tmp_path_factory.mktemp("comfyui")))
    return {class_type: recorded.info(class_type) for class_type in recorded}


def file_of(data: bytes) -> InputFile:
    media = media_type(data)
    assert media is not None
    return InputFile(data, media)


def picture(shade: int) -> InputFile:
    buffer = io.BytesIO()
    Image.new("L", (64, 48), shade).save(buffer, "PNG")
    return file_of(buffer.getvalue())


def made_of(template: Template, definitions: Definitions) -> list[Graph]:
    """What the core sends for calls of several kinds."""
    wishes: list[dict[str, Any]] = [
        {},
        {"seed": 7},
        {"exact": (1000, 500)},
        {"count": 2},
        {"width": 640, "height": 384},
    ]
    made = []
    for number in range(4):
        files = tuple(picture(shade) for shade in range(number))
        for wish in wishes:
            try:
                filled = filling.fill(template, Inputs(files=files, **wish), definitions)
            except InvalidInput:
                continue
            made += [dict(each.saved_under("11111111-aaaa")) for each in filled]
    return made


@pytest.mark.parametrize("template", library.templates(), ids=lambda each: each.name)
def test_what_the_core_makes_of_a_template_is_of_it(template: Template, definitions: Definitions) -> None:
    made = made_of(template, definitions)

    assert made
    for graph in made:
        assert allowed.template_of(graph, [template], definitions) is template


def other_model(graph: Graph) -> None:
    graph["4"]["inputs"]["ckpt_name"] = "flux1-dev.safetensors"


def another_node(graph: Graph) -> None:
    graph["99"] = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}}


def one_node_less(graph: Graph) -> None:
    del graph["9"]


def other_class(graph: Graph) -> None:
    graph["9"]["class_type"] = "PreviewImage"


def another_link(graph: Graph) -> None:
    graph["3"]["inputs"]["negative"] = graph["3"]["inputs"]["positive"]


def link_for_a_value(graph: Graph) -> None:
    graph["5"]["inputs"]["width"] = ["4", 0]


def another_input(graph: Graph) -> None:
    graph["9"]["inputs"]["extra"] = "x"


def resized_on_the_way(graph: Graph) -> None:
    graph["99"] = {"class_type": "ImageScale", "inputs": {**SCALE, "image": ["8", 0], "width": 9000}}
    graph["9"]["inputs"]["images"] = ["99", 0]


SCALE = {"upscale_method": "lanczos", "width": 100, "height": 100, "crop": "disabled"}
CHANGES: list[Callable[[Graph], None]] = [
    other_model, another_node, one_node_less, other_class, another_link, link_for_a_value, another_input,
    resized_on_the_way,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__)
def test_what_is_changed_is_not_of_it(change: Callable[[Graph], None], definitions: Definitions) -> None:
    template = library.load("sdxl")
    graph = copy.deepcopy(made_of(template, definitions)[0])
    assert allowed.template_of(graph, [template], definitions) is template

    change(graph)

    assert allowed.template_of(graph, [template], definitions) is None


def test_lora_and_folder(definitions: Definitions) -> None:
    template = library.load("sdxl")
    name = next(iter(definitions["LoraLoader"]["input"]["required"]["lora_name"][0]))
    (with_lora,) = filling.fill(template, Inputs(loras=(Lora(name, 1.0),)), definitions)
    elsewhere = copy.deepcopy(made_of(template, definitions)[0])
    elsewhere["4"]["inputs"]["ckpt_name"] = f"SDXL\\{elsewhere['4']['inputs']['ckpt_name']}"

    assert allowed.template_of(with_lora.prompt, [template], definitions) is None
    assert allowed.template_of(elsewhere, [template], definitions) is template


def test_key_with_templates(postgres: str, tmp_path: Path) -> None:
    with (
        Simulator() as comfyui,
        database(postgres) as url,
        worker(url, tmp_path, comfyui.url),
        psycopg.connect(url, autocommit=True) as connection,
    ):
        are_well(connection, 1)
        _, key = keys.add(connection, "narrow", {"templates": ["sdxl"]})
        with gateway(url, tmp_path) as address:
            server = Server(address, key)
            template = dict(library.load("sdxl").prompt)
            lie = {"comfybridge": {"template": "sdxl"}}

            refusal = server.reject(graphs.solid(), extra_data=lie)

            assert refusal["error"]["type"] == "template_not_allowed"
            assert refusal["error"]["details"] == "sdxl"
            assert server.reject(library.load("sd15").prompt)["error"]["type"] == "template_not_allowed"
            assert server.run(template)["status"]["status_str"] == "success"
            server.close()
