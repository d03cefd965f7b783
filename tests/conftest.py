"""Fixtures that every test folder may use."""

from collections.abc import Iterator

import pytest

from comfybridge.simulator import Simulator


@pytest.fixture
def comfyui() -> Iterator[Simulator]:
    """A simulated ComfyUI with the default models, which answers at once."""
    with Simulator() as simulator:
        yield simulator
