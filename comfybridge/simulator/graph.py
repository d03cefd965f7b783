"""Which node runs next (comfy_execution/graph.py)."""

from collections.abc import Callable

from comfybridge.simulator.definitions import Definitions
from comfybridge.validation import Prompt, is_link


class Schedule:
    """The nodes still to run, in ComfyUI's own order.

    Ready nodes are tried in the order they were added; an output node goes first, then what feeds one, then what
    feeds that. Lazy inputs are left out until :meth:`demand` asks for them.
    """

    def __init__(self, prompt: Prompt, definitions: Definitions, is_cached: Callable[[str], bool]) -> None:
        self._prompt = prompt
        self._definitions = definitions
        self._is_cached = is_cached
        self._waits_for: dict[str, set[str]] = {}
        self._feeds: dict[str, dict[str, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._waits_for)

    def add(self, node_id: str) -> None:
        """Add a node and everything it needs that is not cached."""
        to_visit, links = [node_id], []
        while to_visit:
            current = to_visit.pop()
            if current in self._waits_for:
                continue
            self._waits_for[current] = set()
            self._feeds[current] = {}
            node = self._prompt[current]
            inputs = self._definitions.get(node["class_type"]).inputs
            for name, value in node["inputs"].items():
                if not is_link(value) or (name in inputs and inputs[name].is_lazy):
                    continue
                if not self._is_cached(value[0]):
                    to_visit.append(value[0])
                links.append((value[0], current))
        for source, target in links:
            self._connect(source, target)

    def demand(self, node_id: str, input_name: str) -> None:
        """Make a node wait for one of its lazy inputs."""
        source = self._prompt[node_id]["inputs"][input_name][0]
        if not self._is_cached(source):
            self.add(source)
        self._connect(source, node_id)

    def pick(self) -> str | None:
        """Name the node to run now; ``None`` when the rest is a cycle."""
        ready = [node_id for node_id, sources in self._waits_for.items() if not sources]
        for node_id in ready:
            if self._is_output(node_id):
                return node_id
        for node_id in ready:
            if any(self._is_output(target) for target in self._feeds[node_id]):
                return node_id
        for node_id in ready:
            if any(self._is_output(far) for near in self._feeds[node_id] for far in self._feeds[near]):
                return node_id
        return ready[0] if ready else None

    def complete(self, node_id: str) -> None:
        del self._waits_for[node_id]
        for target in self._feeds.pop(node_id):
            self._waits_for[target].discard(node_id)

    def remaining(self) -> list[str]:
        return list(self._waits_for)

    def _connect(self, source: str, target: str) -> None:
        if source in self._waits_for:
            self._waits_for[target].add(source)
            self._feeds[source][target] = None

    def _is_output(self, node_id: str) -> bool:
        return self._definitions.get(self._prompt[node_id]["class_type"]).is_output
