"""The OpenAPI document: what an agent needs to draw pictures here, small enough for one to read. Pure.

Dify imports it as a custom tool: it reads the first server, the operations with their ids and descriptions, and of each
the parameters and the properties of a JSON body. What a property refers to elsewhere it does not follow, and of options
it tells a model nothing, so that everything stands where it is used, and options are named in descriptions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from comfybridge.service.gateway.openai.models import Model, task_of

VERSION = "1"
"""Of this interface: another one where what stands here goes or changes."""
MOST_AT_ONCE = 4
SIZES = ("1024x1024", "1536x1024", "1024x1536", "1280x720", "720x1280", "512x512")
_DRAWS_FROM_TEXT = "text2image"


def document(address: str, models: Sequence[Model]) -> dict[str, Any]:
    """``address`` is that of the gateway as the reader reaches it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "comfybridge",
            "description": "Draws pictures from words with ComfyUI.",
            "version": VERSION,
        },
        "servers": [{"url": address}],
        "security": [{"key": []}],
        "paths": {
            "/comfybridge/images": {"post": _generate(models)},
            "/comfybridge/images/{prompt_id}": {"get": _result()},
            "/v1/models": {"get": _models()},
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _generate(models: Sequence[Model]) -> dict[str, Any]:
    named = [model.template for model in models if task_of(model.template) == _DRAWS_FROM_TEXT]
    # Those that auto never takes are many, and for people who know them.
    first = [template for template in named if template.order is not None]
    abouts = " ".join(f"{template.base_name}: {template.about.get('en_US', '')}" for template in first)
    model: dict[str, Any] = {
        "type": "string",
        "description": f"Which model draws; auto chooses one. {abouts}".strip(),
        "default": "auto",
        "enum": ["auto", *(template.base_name for template in named)],
    }
    properties = {
        "prompt": {
            "type": "string",
            "description": "What the picture shows, in English unless the model reads other languages: subject,"
            " setting, light and style, in one to three sentences. What is to be read in the picture goes in quotes.",
        },
        "model": model,
        "size": {
            "type": "string",
            "description": f"Width x height in pixels, such as {', '.join(SIZES)}; auto is what the model likes best.",
            "default": "auto",
        },
        "n": {
            "type": "integer",
            "description": f"How many pictures, 1 to {MOST_AT_ONCE}.",
            "default": 1,
            "minimum": 1,
            "maximum": MOST_AT_ONCE,
        },
        "negative_prompt": {
            "type": "string",
            "description": "What must not be in the picture; only some models heed it. Mostly left out.",
        },
        "seed": {
            "type": "string",
            "description": "The seed of an earlier picture, to draw it again with changes. Left out for a new picture.",
        },
    }
    return {
        "operationId": "generate_image",
        "summary": "Draw a picture",
        "description": "Draws pictures from a description and returns their addresses, and the same as markdown, which"
        " shows them: put that into the answer as it stands. Where status is queued or running, ask get_image with"
        " the prompt_id a little later.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "object", "properties": properties, "required": ["prompt"]}}
            },
        },
        "responses": _answers("The pictures, or the job that draws them."),
    }


def _result() -> dict[str, Any]:
    return {
        "operationId": "get_image",
        "summary": "Get the pictures of an earlier job",
        "description": "Returns the pictures of a job that generate_image began and did not finish in time.",
        "parameters": [
            {
                "name": "prompt_id",
                "in": "path",
                "required": True,
                "description": "The prompt_id that generate_image returned.",
                "schema": {"type": "string"},
            }
        ],
        "responses": _answers("The pictures, or how far the job is."),
    }


def _models() -> dict[str, Any]:
    return {
        "operationId": "list_models",
        "summary": "List the models",
        "description": "Lists the models that can draw now, with what each is good at.",
        "responses": {"200": _json("The models.", {"type": "object", "properties": {"data": {"type": "array"}}})},
    }


def _answers(description: str) -> dict[str, Any]:
    texts = {"type": "string"}
    properties: Mapping[str, Any] = {
        "status": {**texts, "description": "succeeded, running or queued."},
        "prompt_id": {**texts, "description": "What the job is known by."},
        "markdown": {**texts, "description": "The pictures as markdown."},
        "images": {"type": "array", "items": texts, "description": "The addresses of the pictures."},
        "model": texts,
        "seed": texts,
        "message": texts,
    }
    error = {"type": "object", "properties": {"error": {"type": "object"}}}
    return {
        "200": _json(description, {"type": "object", "properties": properties}),
        "default": _json("What went wrong.", error),
    }


def _json(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
