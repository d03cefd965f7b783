"""The pages: every link leads somewhere, every tool and every example is shown, no page says what it must not."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDES = ("docs/dify.md", "docs/zh/dify.md")
#: Where Dify and the marketplace show a page without the folders around it.
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)|<img[^>]*\ssrc=\"([^\"]+)\"")
MOST_PICTURE_BYTES = 60 * 1000


def pages() -> list[Path]:
    folders = (ROOT, ROOT / "docs", ROOT / "readme", ROOT / "examples", ROOT / "workflows")
    found = [page for folder in folders for page in folder.glob("*.md")]
    return sorted({*found, *(ROOT / "docs").rglob("*.md")})


PAGES = {page.relative_to(ROOT).as_posix(): page for page in pages()}


def prose(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def links(page: Path) -> Iterator[str]:
    for found in LINK.finditer(prose(page)):
        yield found[1] or found[2]


def anchors(page: Path) -> set[str]:
    """What a link may end with: the headings as GitHub turns them, and anchors of our own."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#{1,6} +(.+?)\s*$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings)
    slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in plain}
    return slugs | set(re.findall(r'<a id="([^"]+)"></a>', text))


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page, broken = PAGES[name], []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / unquote(path)).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_links_are_found_at_all() -> None:
    found = list(links(PAGES["docs/dify.md"]))

    assert "#shared-bots" in found
    assert "pictures/tool-text2image.webp" in found
    assert "../_assets/demo.png" in links(PAGES["readme/README_zh_Hans.md"])


@pytest.mark.parametrize("guide", GUIDES)
def test_every_tool_and_every_example_has_its_picture(guide: str) -> None:
    shown = {Path(link).name for link in links(PAGES[guide])}
    provider = yaml.safe_load((ROOT / "provider" / "comfyui.yaml").read_text(encoding="utf-8"))
    wanted = [f"tool-{Path(tool).stem}.webp" for tool in provider["tools"]]
    wanted += [f"app-{app.stem}.webp" for app in sorted((ROOT / "examples").glob("*.yml"))]

    assert len(wanted) > 11
    assert [name for name in wanted if name not in shown] == []


def test_pictures_are_small_and_each_is_shown() -> None:
    pictures = sorted((ROOT / "docs" / "pictures").iterdir())
    shown = {Path(link).name for page in PAGES.values() for link in links(page)}

    assert pictures
    assert [picture.name for picture in pictures if picture.stat().st_size > MOST_PICTURE_BYTES] == []
    assert [picture.name for picture in pictures if picture.name not in shown] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_guide_names_every_credential_and_outcome(guide: str) -> None:
    text = PAGES[guide].read_text(encoding="utf-8")
    provider = yaml.safe_load((ROOT / "provider" / "comfyui.yaml").read_text(encoding="utf-8"))
    # What is plain from its name and the form alone may be left to the English page.
    wanted = set(provider["credentials_for_provider"]) - (
        {"comfy_org_api_key", "max_prompt_length", "fallback_sizes"} if "zh" in guide else set()
    )
    wanted |= {"succeeded", "failed", "rejected", "cancelled", "timed_out", "lost"}

    assert [name for name in sorted(wanted) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_guide_names_every_parameter_of_the_main_tool(guide: str) -> None:
    text = PAGES[guide].read_text(encoding="utf-8")
    tool = yaml.safe_load((ROOT / "tools" / "text2image.yaml").read_text(encoding="utf-8"))

    assert [each["name"] for each in tool["parameters"] if f"`{each['name']}`" not in text] == []


def test_readmes_show_the_same_sections() -> None:
    """The translation may be shorter, but has every part."""
    counts = [
        len(re.findall(r"^## ", PAGES[name].read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("README.md", "readme/README_zh_Hans.md")
    ]

    assert counts[0] == counts[1]
