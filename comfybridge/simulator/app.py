"""The routes, bare and under ``/api`` (server.py, add_routes)."""

from aiohttp import web

from comfybridge.simulator import info, jobs, prompts, upload, userdata, view
from comfybridge.simulator.middleware import simulated
from comfybridge.simulator.sockets import FEATURES
from comfybridge.simulator.state import STATE, State

ROUTES = (
    ("GET", "/prompt", prompts.get_prompt),
    ("POST", "/prompt", prompts.post_prompt),
    ("GET", "/queue", prompts.get_queue),
    ("POST", "/queue", prompts.post_queue),
    ("GET", "/history", prompts.get_history),
    ("POST", "/history", prompts.post_history),
    ("GET", "/history/{prompt_id}", prompts.get_history_of),
    ("POST", "/interrupt", prompts.post_interrupt),
    ("POST", "/free", prompts.post_free),
    ("GET", "/object_info", info.get_object_info),
    ("GET", "/object_info/{class_type}", info.get_object_info_of),
    ("GET", "/system_stats", info.get_system_stats),
    ("GET", "/features", info.get_features),
    ("GET", "/models", info.get_models),
    ("GET", "/models/{folder}", info.get_models_in),
    ("GET", "/embeddings", info.get_embeddings),
    ("GET", "/view_metadata/{folder}", info.get_view_metadata),
    ("GET", "/view", view.get_view),
    ("POST", "/upload/image", upload.post_image),
    ("POST", "/upload/mask", upload.post_mask),
    ("GET", "/userdata", userdata.get_list),
    ("GET", "/v2/userdata", userdata.get_tree),
    ("GET", "/userdata/{file}", userdata.get_file),
    ("POST", "/userdata/{file}", userdata.post_file),
    ("DELETE", "/userdata/{file}", userdata.delete_file),
    ("POST", "/userdata/{file}/move/{dest}", userdata.move_file),
)


def build(state: State) -> web.Application:
    app = web.Application(client_max_size=FEATURES["max_upload_size"], middlewares=[simulated])
    app[STATE] = state
    prefix = state.options.prefix
    handlers = (*ROUTES, ("GET", "/ws", _socket if state.options.websocket else _no_socket))
    for method, path, handler in handlers:
        for base in (prefix, prefix + "/api"):
            app.router.add_route(method, base + path, handler)
            if method == "GET" and path != "/ws":
                app.router.add_route("HEAD", base + path, handler)
    app.router.add_get(prefix + "/", info.get_root)
    app.router.add_get(prefix + "/api/jobs", jobs.get_jobs)
    app.router.add_get(prefix + "/api/jobs/{job_id}", jobs.get_job)
    # ComfyUI looks for everything else among the front end's files: nothing but GET is allowed there.
    app.router.add_get(prefix + "/{path:.*}", _not_found)
    return app


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(status=404, body=b"")


async def _socket(request: web.Request) -> web.StreamResponse:
    return await request.app[STATE].sockets.handle(request)


async def _no_socket(_request: web.Request) -> web.StreamResponse:
    # What aiohttp answers when a proxy in front of it dropped the Upgrade header.
    return web.Response(status=400, text='No WebSocket UPGRADE hdr: None\n Can "Upgrade" only to "WebSocket".')
