"""Latent previews as binary frames (protocol.py, server.py send_image and send_image_with_metadata)."""

import io
import json
import struct

from comfybridge.simulator.testcard import previewed
from comfybridge.simulator.values import Latent

PREVIEW_IMAGE, PREVIEW_IMAGE_WITH_METADATA = 1, 4
JPEG = 1


def preview_messages(
    latent: Latent, done: float, *, prompt_id: str, node_id: str, with_metadata: bool
) -> tuple[list[bytes], list[bytes]]:
    """Encode a preview: what comes before the step's ``progress`` event, and what comes after.

    A client that announced ``supports_preview_metadata`` gets the new kind, which comes before.
    """
    if latent.sampling is None:
        return [], []
    buffer = io.BytesIO()
    previewed(latent, latent.sampling, done=done).save(buffer, "JPEG", quality=95)
    picture = buffer.getvalue()
    if not with_metadata:
        return [], [struct.pack(">II", PREVIEW_IMAGE, JPEG) + picture]
    metadata = json.dumps(
        {
            "node_id": node_id,
            "prompt_id": prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
            "image_type": "image/jpeg",
        }
    ).encode()
    return [struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(metadata)) + metadata + picture], []
