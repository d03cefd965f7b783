"""What the server says about itself: classes, models, system (server.py, app/model_manager.py)."""

import sys
from pathlib import PurePath

from aiohttp import web

from comfybridge.simulator.sockets import FEATURES
from comfybridge.simulator.state import STATE

ROOT_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>ComfyUI simulator</title>
<h1>ComfyUI simulator</h1>
<p>This server speaks ComfyUI's API and paints test cards. There is no diffusion model here, and no editor.</p>
</html>
"""
GIBIBYTE = 1024**3


async def get_root(_request: web.Request) -> web.Response:
    return web.Response(text=ROOT_PAGE, content_type="text/html")


async def get_object_info(request: web.Request) -> web.Response:
    definitions = request.app[STATE].definitions
    return web.json_response({class_type: definitions.info(class_type) for class_type in definitions})


async def get_object_info_of(request: web.Request) -> web.Response:
    definitions = request.app[STATE].definitions
    class_type = request.match_info["class_type"]
    return web.json_response({class_type: definitions.info(class_type)} if class_type in definitions else {})


async def get_models(request: web.Request) -> web.Response:
    return web.json_response(request.app[STATE].models.folders)


async def get_models_in(request: web.Request) -> web.Response:
    files = request.app[STATE].models.files(request.match_info["folder"])
    return web.Response(status=404) if files is None else web.json_response(files)


async def get_embeddings(request: web.Request) -> web.Response:
    files = request.app[STATE].models.files("embeddings") or []
    return web.json_response([str(PurePath(name).with_suffix("")) for name in files])


async def get_view_metadata(request: web.Request) -> web.Response:
    file_name = request.query.get("filename", "")
    metadata = request.app[STATE].models.metadata(request.match_info["folder"], file_name)
    if not file_name.endswith(".safetensors") or metadata is None:
        return web.Response(status=404)
    return web.json_response(dict(metadata))


async def get_features(_request: web.Request) -> web.Response:
    return web.json_response(FEATURES)


async def get_system_stats(request: web.Request) -> web.Response:
    system = {
        "os": sys.platform,
        "ram_total": 32 * GIBIBYTE,
        "ram_free": 24 * GIBIBYTE,
        "comfyui_version": request.app[STATE].options.version,
        "required_frontend_version": "1.35.9",
        "installed_templates_version": "0.7.67",
        "required_templates_version": "0.7.67",
        "python_version": sys.version,
        "pytorch_version": "2.13.0+cpu",
        "embedded_python": False,
        "argv": ["main.py"],
    }
    memory = request.app[STATE].options.memory * GIBIBYTE
    device = {
        "name": "ComfyUI simulator (no GPU, paints test cards)",
        "type": "cpu",
        "index": None,
        "vram_total": memory,
        "vram_free": memory * 5 // 6,
        "torch_vram_total": memory,
        "torch_vram_free": memory * 5 // 6,
    }
    return web.json_response({"system": system, "devices": [device]})
