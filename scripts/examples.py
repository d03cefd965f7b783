# ruff: noqa: INP001 (a script; the folder is no package)
"""Write the example apps into examples/, as Dify imports them.

``python -m scripts.examples [FOLDER]``
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from scripts.apps import batches, chats, seed_story, waiting
from scripts.apps.canvas import App, Drawn, Edge

FOLDER = Path(__file__).parents[1] / "examples"
APPS: Mapping[str, Callable[[], App]] = {
    "seed-story-workflow": seed_story.seed_story_workflow,
    "seed-story-chatflow": seed_story.seed_story_chatflow,
    "draft-then-fine": chats.draft_then_fine,
    "change-its-colour": chats.change_its_colour,
    "product-set": batches.product_set,
    "social-platforms": batches.social_platforms,
    "batch-from-table": batches.batch_from_table,
    "long-video": waiting.long_video,
    "friendly-failure": waiting.friendly_failure,
}


def documents() -> dict[str, str]:
    """File name -> the text that belongs into it."""
    made = {name: build().dsl() for name, build in APPS.items()} | {"seed-story-agent": seed_story.seed_story_agent()}
    return {f"{name}.yml": written(document) for name, document in made.items()}


def drawing(name: str) -> tuple[list[Drawn], list[Edge]]:
    """Nodes and edges of an app as they lie on Dify's canvas; the agent has none."""
    app = APPS[name]()
    return list(app.drawn()), app.edges


def written(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stay readable, and nothing is written as a reference to something above."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (the signature of PyYAML)
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8")
