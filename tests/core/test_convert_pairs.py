"""Workflows beside what ComfyUI's own front end made of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from comfybridge.convert import convert
from comfybridge.errors import InvalidInput
from comfybridge.workflow import Definitions
from tests.core import pairs
from tests.core.pairs import NEWEST, PINNED, Pair, as_server_reads, as_server_runs

RECORDED = datetime(2026, 11, 19, tzinfo=UTC)

REPAIRED = {
    "a03_seed_without_control_slot": "the front end gives steps the value of cfg, and so on: a slot is missing",
    "a06_dict_widgets_values": "the front end sends none of the values that were saved by name",
    "a10_seed_64bit": "the front end rounds the largest seed to a number that the server refuses",
    "3d_hunyuan3d-v2.1": "the front end sends steps='flow': the server lacks a widget, so that all values shift",
}
"""Where the front end sends garbage, and what of it is put right unless ``repair=False``."""

REFUSED = {
    "g05_empty_graph": "the front end sends an empty prompt, which the server refuses",
}
"""What is an error here."""

ONLY_NEWEST = {
    "g02_dangling_input_link": "1.35.9 throws an error; 1.58.1 repairs the link, and so does convert",
}
"""What 1.35.9 has no prompt for."""


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return pairs.definitions()


def first(options: Sequence[str]) -> str:
    return options[0]


def made(pair: Pair, definitions: Definitions, *, repair: bool) -> dict[str, dict[str, Any]]:
    return convert(pair.workflow, definitions, repair=repair, choose=first).prompt


@pytest.mark.parametrize("name", pairs.names("pinned"))
@pytest.mark.parametrize("repair", [True, False], ids=["repaired", "unrepaired"])
def test_a_template_of_the_pinned_front_end_becomes_its_prompt(
    name: str, definitions: Definitions, *, repair: bool
) -> None:
    pair = pairs.pair("pinned", name)

    prompt = made(pair, definitions, repair=repair)

    assert as_server_reads(prompt, definitions) == as_server_reads(pair.prompts[PINNED], definitions)


@pytest.mark.parametrize("name", pairs.names("newest"))
@pytest.mark.parametrize("repair", [True, False], ids=["repaired", "unrepaired"])
def test_a_newer_template_runs_as_one_of_the_front_ends_runs_it(
    name: str, definitions: Definitions, *, repair: bool
) -> None:
    pair = pairs.pair("newest", name)

    run = as_server_runs(made(pair, definitions, repair=repair), definitions)

    theirs = [as_server_runs(pair.prompts[version], definitions) for version in (PINNED, NEWEST)]
    assert (run in theirs) != (repair and name in REPAIRED)


@pytest.mark.parametrize("name", [name for name in pairs.names("synthetic") if name not in {**REFUSED, **ONLY_NEWEST}])
@pytest.mark.parametrize("repair", [True, False], ids=["repaired", "unrepaired"])
def test_a_single_feature_is_converted_as_the_pinned_front_end_does(
    name: str, definitions: Definitions, monkeypatch: pytest.MonkeyPatch, *, repair: bool
) -> None:
    monkeypatch.setattr("comfybridge.convert.emit.now", lambda: RECORDED)
    pair = pairs.pair("synthetic", name)

    prompt = made(pair, definitions, repair=repair)

    same = as_server_reads(prompt, definitions) == as_server_reads(pair.prompts[PINNED], definitions)
    assert same != (repair and name in REPAIRED)


@pytest.mark.parametrize("name", [*REPAIRED, *ONLY_NEWEST])
def test_a_repair_is_told(name: str, definitions: Definitions) -> None:
    folder = "newest" if name in pairs.names("newest") else "synthetic"

    conversion = convert(pairs.pair(folder, name).workflow, definitions)

    assert conversion.warnings


@pytest.mark.parametrize("name", ONLY_NEWEST)
def test_what_the_pinned_front_end_refuses_follows_the_newest(name: str, definitions: Definitions) -> None:
    pair = pairs.pair("synthetic", name)

    prompt = made(pair, definitions, repair=True)

    assert as_server_reads(prompt, definitions) == as_server_reads(pair.prompts[NEWEST], definitions)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_server_runs_is_refused(name: str, definitions: Definitions) -> None:
    with pytest.raises(InvalidInput):
        made(pairs.pair("synthetic", name), definitions, repair=True)
