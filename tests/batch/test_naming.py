"""Names of files by a pattern."""

import ntpath
import sys
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge.batch.naming import FIELDS, pattern, slug
from comfybridge.errors import InvalidInput

VALUES = {"row": 7, "seed": 42, "name": "Mug", "prompt": "a fox, in snow", "template": "sd15@1", "n": 1}


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("{row:04d}_{seed}.png", "0007_42.webp"),
        ("{template}/{name}", "sd15@1/Mug.webp"),
        ("{prompt:.5}-{n}.jpeg", "a-fox-1.webp"),
        ("v1.5 {row}", "v1.5 7.webp"),
        ("a\\{row}", "a/7.webp"),
    ],
)
def test_patterns(typed: str, path: str) -> None:
    assert str(pattern(typed).path(VALUES, ".webp")) == path


def test_copies_are_numbered() -> None:
    assert str(pattern("{name}").path(VALUES, ".png", 3)) == "Mug-3.png"


def test_chinese_stays_readable() -> None:
    assert slug("上海外滩夜景，写实摄影！") == "上海外滩夜景-写实摄影"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("{rwo}", "there is no {rwo}, only row"),
        ("{row", "expected '}'"),
        ("{row!r}", "04d"),
        ("{row.real}", "there is no {row.real}"),
        ("{name:d}", "Unknown format code"),
        ("{row:999999999d}", "04d"),
        ("{row:{seed}}", "04d"),
        ("../{row}", "leads out"),
        ("a/../../{row}", "leads out"),
        ("/pictures/{row}", "leads out"),
        ("C:\\{row}", "leads out"),
        ("out/", "names no file"),
        ("", "names no file"),
    ],
)
def test_pattern_that_cannot_be_used_is_refused(typed: str, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        pattern(typed)

    assert told in str(refused.value)


def is_reserved(path: str) -> bool:
    """Whether Windows keeps the name for itself."""
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(path)
    return PureWindowsPath(path).is_reserved()


@pytest.mark.parametrize("name", ["CON", "nul.txt", "com1", "..", ".", "...", " ", "", "a/../b", "C:\\x", "-", "~"])
def test_names_that_mean_something_to_a_system(name: str) -> None:
    path = pattern("{name}").path({**VALUES, "name": name}, ".png")

    assert len(path.parts) == 1
    assert not is_reserved(str(path))
    assert path.stem.strip(" .") == path.stem != ""


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=40))
def test_no_value_leads_out_of_the_folder(name: str, prompt: str, template: str) -> None:
    values = {**FIELDS, "name": name, "prompt": prompt, "template": template}

    for typed in ("{name}", "{template}/{prompt}", "a/{name}{prompt}{template}"):
        path = pattern(typed).path(values, ".png", 12)

        assert not path.is_absolute()
        assert not PureWindowsPath(path).drive
        assert len(path.parts) == typed.count("/") + 1
        for part in path.parts:
            assert part not in ("", ".", "..")
            assert len(part.encode()) <= 255
            assert part.isprintable()
            assert not set('<>:"\\|?*%') & set(part)
            assert not is_reserved(str(part))
        assert path.suffix == ".png"


def test_path_is_one_of_posix() -> None:
    assert isinstance(pattern("{row}").path(VALUES, ".png"), PurePosixPath)
