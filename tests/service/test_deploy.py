"""The documents for Docker, Kubernetes and operators: whatever they run is a command that we have."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfybridge.cli import commands

DOCS = Path(__file__).parents[2] / "docs" / "service"
COMPOSE = DOCS / "deploy" / "docker-compose.yml"
KUBERNETES = DOCS / "deploy" / "kubernetes.yaml"


def filled(text: str) -> str:
    """With the defaults of its variables, or some value."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", re.sub(r"\$\(\w+\)|\$\w+", "value", text))


def of_compose() -> Iterator[list[str]]:
    for service in yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values():
        if service["image"] != "comfybridge":
            continue
        assert "COMFYBRIDGE_DATABASE" in service["environment"]
        yield service["command"]
        check = service["healthcheck"]["test"]
        if check[1] == "comfybridge":
            yield check[2:]


def of_kubernetes() -> Iterator[list[str]]:
    for one in yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8")):
        pod: dict[str, Any] = one.get("spec", {}).get("template", {}).get("spec", {})
        for container in pod.get("containers", ()):
            if container["image"] != "comfybridge":
                continue
            assert container["envFrom"] == [{"secretRef": {"name": "comfybridge"}}]
            yield container["args"]
            for words in [container.get("livenessProbe", {}).get("exec", {}).get("command")]:
                if words:
                    yield shlex.split(words[2])[2:]


def of_operations() -> Iterator[list[str]]:
    told = (DOCS / "operations.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```\n(.*?)^```", told, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if "comfybridge" in words[:1]:
                yield words[1:]


@pytest.mark.parametrize("source", [of_compose, of_kubernetes, of_operations])
def test_every_command_is_one_of_ours(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYBRIDGE_DATABASE", "postgresql://nowhere")
    found = [[filled(word) for word in words] for words in source()]

    assert len(found) >= 3
    for words in found:
        assert commands._parser(words).parse_args(words).run


def test_what_they_name_is_there() -> None:
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))

    for name, service in compose["services"].items():
        if "build" in service:
            context = COMPOSE.parent / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file(), name
        volumes = [volume.partition(":")[0] for volume in service.get("volumes", ())]
        assert set(volumes) <= compose["volumes"].keys(), name
        assert set(service.get("networks", ())) <= {"default", *compose["networks"]}, name
        assert set(service.get("depends_on", ())) <= compose["services"].keys(), name


def test_probes_ask_what_there_is() -> None:
    from comfybridge.service.gateway.callers import OPEN  # noqa: PLC0415

    told = KUBERNETES.read_text(encoding="utf-8") + COMPOSE.read_text(encoding="utf-8")
    assert set(re.findall(r"path: (/\w+)|8288(/\w+)", told)) == {(path, "") for path in OPEN - {"/"}} | {("", "/ready")}
