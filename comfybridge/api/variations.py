"""Variations of one prompt, as the keywords of one call each."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfybridge import reading
from comfybridge.errors import InvalidInput
from comfybridge.filling import MAX_SEED

_RANDOM_SEEDS = 2**32
"""Below the highest that every node with a seed takes, those of paid services included."""


def varied(
    prompt: str, of: int | Sequence[str | Mapping[str, Any]], same: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """The keywords of each variation.

    Raises:
        InvalidInput: none is asked for, or the seed that all have is none.
    """
    first = reading.seed(same)
    seed = random.randrange(_RANDOM_SEEDS) if first is None else first  # noqa: S311
    if isinstance(of, str) or not (of if isinstance(of, Sequence) else of > 0):
        raise InvalidInput(
            "variations: give a number from 1 up, or a list of phrases.",
            "variations：请提供不小于 1 的数字，或短语列表。",
        )
    if isinstance(of, int):
        return ({**same, "prompt": prompt, "seed": (seed + number) % (MAX_SEED + 1)} for number in range(of))
    return (
        {**same, "prompt": f"{prompt}, {each}", "seed": seed}
        if isinstance(each, str)
        else {**same, "prompt": prompt, "seed": seed, **each}
        for each in of
    )
