"""A batch: rows in, files and lines of the manifest out, each row once however often the batch is begun again."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Protocol

from comfybridge import library
from comfybridge.batch import sheet
from comfybridge.batch.folder import Folder
from comfybridge.batch.manifest import Entry, Manifest
from comfybridge.batch.naming import Pattern
from comfybridge.batch.rows import Row
from comfybridge.batch.summary import SUCCEEDED, Summary, summary
from comfybridge.errors import ComfyError, Lost, NoServer
from comfybridge.fingerprint import fingerprint
from comfybridge.media import image_size

logger = logging.getLogger(__name__)

_FINAL = (SUCCEEDED, "failed", "rejected")
"""How a row ends for good. One that was late, lost or cancelled is looked up, or made, by the next run."""
