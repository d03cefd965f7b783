import pytest

from comfybridge import ceiling, filling
from comfybridge.errors import InvalidInput
from comfybridge.filling import Filled, Inputs
from comfybridge.library import templates
from comfybridge.workflow import Definitions


def filled(definitions: Definitions, name: str = "sd15", **inputs: object) -> tuple[Filled, ...]:
    (template,) = (each for each in templates() if each.name == name)
    return filling.fill(template, Inputs(positive="a fox", **inputs), definitions)  # type: ignore[arg-type]  # by name


def test_without_a_limit_everything_passes(definitions: Definitions) -> None:
    ceiling.check(filled(definitions, width=4096, height=4096, count=8), None)


def test_limit_itself_passes(definitions: Definitions) -> None:
    graphs = filled(definitions, width=1024, height=1024, count=4)

    ceiling.check(graphs, 4 * 1024 * 1024)
    with pytest.raises(InvalidInput):
        ceiling.check(graphs, 4 * 1024 * 1024 - 1)


def test_refusal_tells_the_numbers_and_what_would_fit(definitions: Definitions) -> None:
    with pytest.raises(InvalidInput) as raised:
        ceiling.check(filled(definitions, width=2048, height=1024, count=4), 5_000_000)

    assert str(raised.value) == (
        "4 × 2048×1024 = 8.39 megapixels are more than the 5 that one call may have here: up to 1576×784 fits for 4"
        " pictures, or 2 of this size."
    )
    assert raised.value.zh == (
        "4 × 2048×1024 = 8.39 百万像素，超过单次调用的上限 5：最大 1576×784（4 张），或此尺寸最多 2 张。"
    )
    ceiling.check(filled(definitions, width=1576, height=784, count=4), 5_000_000)
    ceiling.check(filled(definitions, width=2048, height=1024, count=2), 5_000_000)


def test_one_picture_that_is_too_large_gets_no_count_advised(definitions: Definitions) -> None:
    with pytest.raises(InvalidInput) as raised:
        ceiling.check(filled(definitions, width=2048, height=2048), 1_000_000)

    assert str(raised.value).endswith("may have here: up to 1000×1000 fits.")


def test_value_by_name_is_counted(definitions: Definitions) -> None:
    with pytest.raises(InvalidInput, match=r"^8 × 512×512"):
        ceiling.check(filled(definitions, values={"batch_size": "8"}), 1_000_000)


def test_graph_of_a_picture_passes() -> None:
    (template,) = (each for each in templates() if each.name == "sd15")
    without_size = Filled(prompt={}, template=template, seed=1, width=None, height=None, model=None)

    ceiling.check((without_size,), 1)
