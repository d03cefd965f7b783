"""``/openapi.json`` as Dify imports it for a custom tool, and its operations as Dify calls them.

Dify's rules, as its ``ApiBasedToolSchemaParser`` (``api/core/tools/utils/parser.py``) and ``ApiTool``
(``api/core/tools/custom_tool/tool.py``) have them:

* the text is JSON or YAML; ``info`` and a first entry of ``servers`` must be there, and the address of an operation is
  that server's ``url`` with the path behind it;
* every method of every path becomes a tool under its ``operationId``, which models want as ``[a-zA-Z0-9_-]{1,64}``;
  its ``description``, else its ``summary``, is what a model reads of it;
* ``parameters`` and the properties of the body's schema become parameters of the tool: their type is ``string``,
  ``number`` or ``boolean`` (else a text), a model reads their ``description``, and a default must be a plain value;
* of references only one is followed, that of the whole body; options (``enum``) are not told to the model;
* of several content types of a body the last one counts for the parameters, and the first one for the call;
* a name must not occur twice in one operation;
* the body is sent as JSON when its type is exactly ``application/json``: given values converted to their type, which
  leaves texts such as ``""`` for numbers as they are, defaults for those that are not given;
* the answer is read for a minute at most, and JSON where its content type says so; 400 and above is an error.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from openapi_spec_validator import validate

from comfybridge.simulator import Simulator
from tests.contract.server import DEADLINE_S, Server, eventually
from tests.service.running import service

METHODS = ("get", "post", "put", "delete", "patch", "head", "options", "trace")
TYPES = ("string", "integer", "number", "boolean")


@pytest.fixture(scope="module")
def comfyui() -> Iterator[Simulator]:
    with Simulator(models="sd15") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def url(postgres: str, comfyui: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(postgres, tmp_path_factory.mktemp("store"), [comfyui.url]) as address:
        yield address


@pytest.fixture
def document(url: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{url}/openapi.json", timeout=DEADLINE_S).json()
    return found


def operations(document: Mapping[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Id -> address, method, operation."""
    server = document["servers"][0]["url"]
    return {
        operation["operationId"]: (server + path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def parameters(operation: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The name of each parameter, and its schema with its description."""
    found = [
        (each["name"], {**each["schema"], "description": each["description"]})
        for each in operation.get("parameters", ())
    ]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found += content["schema"]["properties"].items()
    return found


def call(document: Mapping[str, Any], operation_id: str, **given: Any) -> requests.Response:
    """Call a tool as Dify does."""
    address, method, operation = operations(document)[operation_id]
    body: dict[str, Any] | None = None
    for content in operation.get("requestBody", {}).get("content", {}).values():
        defaults = {name: of["default"] for name, of in content["schema"]["properties"].items() if "default" in of}
        body = {**defaults, **given}
    for each in operation.get("parameters", ()):
        address = address.replace(f"{{{each['name']}}}", given[each["name"]])
    return requests.request(method, address, json=body, timeout=DEADLINE_S)


def test_document_is_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_document_keeps_to_difys_rules(document: dict[str, Any], url: str) -> None:
    assert document["servers"] == [{"url": url}]
    assert "$ref" not in str(document)
    assert set(operations(document)) == {"generate_image", "get_image", "list_models"}
    for operation_id, (address, _, operation) in operations(document).items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", operation_id)
        assert urlsplit(address).scheme == "http"
        assert len(operation["description"]) > 20
        assert list(operation.get("requestBody", {}).get("content", {"application/json": {}})) == ["application/json"]
        names = [name for name, _ in parameters(operation)]
        assert len(names) == len(set(names))
        for _, schema in parameters(operation):
            assert schema["type"] in TYPES
            assert len(schema["description"]) > 20
            assert isinstance(schema.get("default", ""), str | int)


def test_model_reads_which_models_there_are(document: dict[str, Any]) -> None:
    _, _, operation = operations(document)["generate_image"]
    model = dict(parameters(operation))["model"]

    assert model["enum"] == ["auto", "sd15", "sd15-clip-skip", "sd15-hires"]
    assert "sd15: Small and quick" in model["description"]


def test_agent_draws_and_shows_pictures(document: dict[str, Any]) -> None:
    drawn = call(document, "generate_image", prompt="a lake", n=2, seed="", negative_prompt="").json()

    assert (drawn["status"], drawn["model"]) == ("succeeded", "sd15@1")
    links = re.findall(r"!\[picture\]\((\S+)\)", drawn["markdown"])
    assert links == drawn["images"]
    pictures = {requests.get(link, timeout=DEADLINE_S).content[:4] for link in links}
    assert (len(links), pictures) == (2, {b"\x89PNG"})
    assert call(document, "get_image", prompt_id=drawn["prompt_id"]).json()["seed"] == drawn["seed"]


def test_job_that_takes_longer_is_asked_for_later(document: dict[str, Any], url: str, comfyui: Simulator) -> None:
    comfyui.hold()
    begun = call(document, "generate_image", prompt="a lake", timeout=4).json()
    assert begun["status"] in ("queued", "running")
    assert begun["prompt_id"] in begun["message"]

    comfyui.release()
    server = Server(url)
    eventually(lambda: server.history(begun["prompt_id"]))
    server.close()
    assert call(document, "get_image", prompt_id=begun["prompt_id"]).json()["status"] == "succeeded"


def test_what_cannot_be_is_told_to_the_agent(document: dict[str, Any]) -> None:
    many = call(document, "generate_image", prompt="a lake", n=9)
    unknown = call(document, "get_image", prompt_id="nowhere")

    assert (many.status_code, many.json()["error"]["message"]) == (400, "n must be 1 to 4.")
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "prompt_id")
    assert call(document, "list_models").json()["data"][0]["id"] == "sd15"
