"""A binary glTF by hand: the octahedron that stands in for a generated mesh."""

import json
import struct
from collections.abc import Mapping

CORNERS = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0))
FACES = ((0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5))
FLOAT, UNSIGNED_INT, TRIANGLES = 5126, 5125, 4
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942


def glb(metadata: Mapping[str, str]) -> bytes:
    """Write one mesh in the layout that ComfyUI gives its own (nodes_hunyuan3d.py, save_glb)."""
    vertices = b"".join(struct.pack("<3f", *corner) for corner in CORNERS)
    indices = b"".join(struct.pack("<3I", *face) for face in FACES)
    gltf = {
        "asset": {"version": "2.0", "generator": "ComfyUI simulator", "extras": dict(metadata)},
        "buffers": [{"byteLength": len(vertices) + len(indices)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(vertices), "target": 34962},
            {"buffer": 0, "byteOffset": len(vertices), "byteLength": len(indices), "target": 34963},
        ],
        "accessors": [
            {
                "bufferView": 0,
                "byteOffset": 0,
                "componentType": FLOAT,
                "count": len(CORNERS),
                "type": "VEC3",
                "max": [1.0, 1.0, 1.0],
                "min": [-1.0, -1.0, -1.0],
            },
            {
                "bufferView": 1,
                "byteOffset": 0,
                "componentType": UNSIGNED_INT,
                "count": 3 * len(FACES),
                "type": "SCALAR",
            },
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": TRIANGLES}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    text = json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    binary = vertices + indices
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    return b"".join(
        (
            header,
            struct.pack("<II", len(text), JSON_CHUNK),
            text,
            struct.pack("<II", len(binary), BINARY_CHUNK),
            binary,
        )
    )
