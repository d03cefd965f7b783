"""The templates as models: which of them the fleet can run, and which is meant by a name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from comfybridge import library, preflight
from comfybridge.media import InputFile
from comfybridge.service.catalogue import Classes
from comfybridge.service.gateway.openai.errors import ApiError
from comfybridge.template import AUTO, Template

TASKS = ("text2image", "image2image", "inpaint", "upscale")
"""Those whose templates make pictures."""

_OPENAIS = ("dall-e", "gpt-image", "chatgpt-image")
"""How OpenAI's own models begin, which clients with a fixed list ask for."""
_NO_NODES = ("They lack a node class that it needs.", "服务器缺少它所需的节点。")
_MOST_KNOWN = 10_000
_BUSY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A template that some server can run; ``file`` is the model file that it loads there, ``None`` for its own."""

    template: Template
    file: str | None
    definitions: Classes


@dataclass(slots=True)
class Models:
    """What was found out of templates and servers: neither changes often."""

    _known: dict[tuple[int, str], tuple[Template, bool, str | None]] = field(default_factory=dict)

    def runnable(self, templates: Iterable[Template], catalogues: Mapping[str, Classes]) -> list[Model]:
        """The templates that make pictures and can be run, those first that ``auto`` tries first."""
        first: dict[str, Template] = {}
        for template in templates:
            first.setdefault(template.base_name, template)
        found = [self._found((template,), catalogues) for template in first.values() if task_of(template) in TASKS]
        return sorted((model for model in found if model is not None), key=_rank)

    def named(self, name: str, templates: Sequence[Template], catalogues: Mapping[str, Classes]) -> Model:
        """Raises ApiError where there is no such model, or no server that can run it."""
        template = find(name, templates)
        if template is None or task_of(template) not in TASKS:
            raise _unknown(name, [model.template.base_name for model in self.runnable(templates, catalogues)])
        model = self._found((template,), catalogues)
        if model is None:
            raise _not_runnable(template, catalogues)
        return model

    def default(
        self,
        task: str,
        files: Sequence[InputFile],
        templates: Sequence[Template],
        catalogues: Mapping[str, Classes],
    ) -> Model:
        """The first template of a task that takes the files and that the fleet can run."""
        named = (find(each.base_name, templates) for each in library.choices(task))
        choices = [template for template in named if template is not None and task_of(template) == task]
        if not choices:
            raise _unknown(AUTO, [model.template.base_name for model in self.runnable(templates, catalogues)])
        # Where none takes them, the first one says best what it wants.
        able = [template for template in choices if template.takes(files)] or list(choices)
        model = self._found(able, catalogues)
        if model is None:
            raise _not_runnable(able[0], catalogues)
        return model

    def _found(self, templates: Sequence[Template], catalogues: Mapping[str, Classes]) -> Model | None:
        """The first one whose own models are on a server, else the first that can run with another model file."""
        with_another: Model | None = None
        for template in templates:
            for digest, classes in catalogues.items():
                can_run, file = self._look(template, digest, classes)
                model = Model(template=template, file=file, definitions=classes)
                if can_run and file is None:
                    return model
                if can_run:
                    with_another = with_another or model
        return with_another

    def _look(self, template: Template, digest: str, classes: Classes) -> tuple[bool, str | None]:
        key = (id(template), digest)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            # With the template itself, so that its id stays its own.
            self._known[key] = (template, *_can_run(template, classes))
        _, can_run, file = self._known[key]
        return can_run, file


def is_default(name: str) -> bool:
    """Whether a name leaves the choice to us."""
    return name in ("", AUTO) or name.startswith(_OPENAIS)


def task_of(template: Template) -> str:
    """What it makes of what; for a workflow whose author does not say, by what it takes."""
    if template.task:
        return template.task
    roles = template.roles({})
    if roles["masks"]:
        return "inpaint"
    return "image2image" if roles["images"] else "text2image"


def full_name(template: Template) -> str:
    """``poster@1`` for the template ``poster``."""
    return f"{template.base_name}@{template.version}"


def find(name: str, templates: Sequence[Template]) -> Template | None:
    """Exactly that of ``name@version``, else the first one of this name."""
    wanted = name.casefold()
    exact = next((each for each in templates if full_name(each).casefold() == wanted), None)
    return exact or next((each for each in templates if each.base_name.casefold() == wanted), None)


def _can_run(template: Template, classes: Classes) -> tuple[bool, str | None]:
    if preflight.can_run(template.prompt, classes):
        return True, None
    # What the files' metadata says is known to their server alone.
    fitting = (name for name in template.model_names(classes) if template.can_run(name, {}, classes))
    file = next(fitting, None)
    return file is not None, file


def _rank(model: Model) -> tuple[int, bool, int, str]:
    template = model.template
    return TASKS.index(task_of(template)), template.order is None, template.order or 0, template.name


def _unknown(name: str, known: Sequence[str]) -> ApiError:
    shown, names = " ".join(name.split())[:60], ", ".join(known)
    return ApiError(
        404,
        f"The model '{shown}' does not exist. Models: {names or 'none at the moment'}.",
        f"模型“{shown}”不存在。可用模型：{names or '暂无'}。",
        param="model",
        code="model_not_found",
    )


def _not_runnable(template: Template, catalogues: Mapping[str, Classes]) -> ApiError:
    if not catalogues:
        return ApiError(
            503,
            "No ComfyUI server is there yet: try again in a moment.",
            "暂无可用的 ComfyUI 服务器：请稍后再试。",
            retry_after_s=_BUSY_S,
        )
    install_en, install_zh = template.how_to_install() if template.requires else _NO_NODES
    return ApiError(
        404,
        f"No server can run the model '{template.name}'. {install_en}",
        f"没有服务器可以运行模型“{template.name}”。{install_zh}",
        param="model",
        code="model_not_found",
    )
