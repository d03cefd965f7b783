"""Real graphs of every family, each with what a person finds in it."""

import pytest

from comfybridge import workflow
from comfybridge.workflow import ROLES, Roles
from tests.core.recorded import TRACED, TRACED_DEFINITIONS, traced

_NO_PROMPT = {"3d_hunyuan3d-v2.1", "api_topaz_video_enhance", "utility-gan_upscaler"}


def places(roles: Roles) -> dict[str, list[str]]:
    return {role: [f"{ref.node_id}.{ref.input}" for ref in roles[role]] for role in ROLES if roles[role]}


@pytest.mark.parametrize("name", TRACED)
class TestEachGraph:
    def test_roles_are_those_that_a_person_finds(self, name: str) -> None:
        graph = traced(name)

        assert places(workflow.trace(graph.prompt, TRACED_DEFINITIONS)) == graph.roles

    def test_outputs_are_all_there_in_order(self, name: str) -> None:
        graph = traced(name)

        roles = workflow.trace(graph.prompt, TRACED_DEFINITIONS)

        assert (list(roles.outputs), roles.kinds) == (list(graph.outputs), graph.outputs)

    def test_what_was_not_found_is_named_or_explained(self, name: str) -> None:
        graph = traced(name)

        roles = workflow.trace(graph.prompt, TRACED_DEFINITIONS)

        assert [note.role for note in roles.notes] == graph.notes
        assert list(roles.missing) == graph.missing

    def test_what_follows_a_role_is_known(self, name: str) -> None:
        graph = traced(name)

        scales = workflow.trace(graph.prompt, TRACED_DEFINITIONS).scales

        assert {role: [f"{ref.node_id}.{ref.input}" for ref in refs] for role, refs in scales.items()} == graph.follows

    def test_graph_without_definitions_says_no_nonsense(self, name: str) -> None:
        graph = traced(name)

        roles = workflow.trace(graph.prompt, {})

        assert {ref.node_id for refs in roles.inputs.values() for ref in refs} <= set(graph.prompt)


def test_nearly_every_graph_has_a_prompt() -> None:
    without = {name for name in TRACED if not traced(name).roles.get("positive")}

    assert without == _NO_PROMPT
