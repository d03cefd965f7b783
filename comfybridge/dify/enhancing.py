"""A caller's sentence written anew by a language model of Dify's, for the template that was chosen."""

import logging
import time
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.model.llm import LLMModelConfig
from dify_plugin.entities.model.message import SystemPromptMessage, UserPromptMessage

from comfybridge import enhancing
from comfybridge.deadline import Deadline
from comfybridge.dify import moderating
from comfybridge.enhancing import Brief, Enhancement, Wish, Worded
from comfybridge.errors import Failed
from comfybridge.filling import Inputs
from comfybridge.parameters import Call, Limits
from comfybridge.template import Template

logger = logging.getLogger("comfybridge")

_SHARE, _LONGEST_S = 1 / 3, 60.0
"""Of the time that a call has left, so much may go by before the model has answered."""
_LONGEST_ANSWER = 50_000


class _UnusableError(Exception):
    """Why there is no prompt by the model, as a clause in English and Chinese."""

    def __init__(self, english: str, chinese: str) -> None:
        super().__init__(english)
        self.english = english
        self.chinese = chinese


class Rewriter:
    """Asks the model of one call, once for all templates that want a prompt of the same kind; not after a failure."""

    def __init__(self, tool: Tool, call: Call, wish: Wish, limits: Limits, deadline: Deadline) -> None:
        self._tool = tool
        self._call = call
        self._wish = wish
        self._limits = limits
        self._deadline = deadline
        self._known: dict[Brief, Enhancement] = {}
        self._failure: _UnusableError | None = None

    def __call__(self, template: Template, inputs: Inputs) -> Worded:
        """The inputs in the model's words; in the caller's own, and a note, where it gave none that can be used."""
        brief = enhancing.brief(self._wish, template, inputs)
        if brief not in self._known and self._failure is None:
            try:
                self._known[brief] = self._asked(brief, inputs)
            except _UnusableError as exc:
                self._failure = exc
                logger.warning("the prompt stays as it was written: the language model %s %s", self._name, exc.english)
        if brief in self._known:
            return Worded(enhancing.worded(inputs, self._known[brief]))
        return Worded(inputs, (self._note(),))

    @property
    def _name(self) -> str:
        return self._wish.model.shown

    def _note(self) -> tuple[str, str]:
        cause = self._failure or _UnusableError("gave no prompt", "没有给出提示词")
        return (
            f"The prompt was used as written: {self._name} {cause.english}",
            f"已直接使用原提示词：{self._name} {cause.chinese}",
        )

    def _asked(self, brief: Brief, inputs: Inputs) -> Enhancement:
        seconds = int(min(_LONGEST_S, self._deadline.remaining() * _SHARE))
        if seconds < 1:
            raise _UnusableError("was not asked, since too little time is left", "因剩余时间不足未被调用")
        deadline = Deadline(seconds)
        answer = self._answer(enhancing.messages(self._wish, brief, inputs.negative), deadline)
        enhancement = enhancing.read(answer, brief, self._limits.max_prompt_length)
        if enhancement is None:
            raise _UnusableError("gave no prompt that can be used", "没有给出可用的提示词")
        if any(self._limits.blocked_words.find(text) is not None for text in enhancement.texts):
            raise _UnusableError("used a word that this app blocks", "使用了本应用屏蔽的词语")
        try:
            is_flagged = moderating.objects(self._tool, self._call, enhancement.texts, self._deadline)
        except Failed:
            raise _UnusableError("wrote what could not be checked", "改写的内容无法审核") from None
        if is_flagged:
            raise _UnusableError("wrote what the moderation model objects to", "改写的内容未通过审核")
        return enhancement

    def _answer(self, messages: tuple[str, str], deadline: Deadline) -> str:
        """What the model says, in the pieces in which Dify hands it on.

        Streamed, since the SDK counts silent seconds only: a model that drips must not take the time of the drawing.
        """
        system, user = messages
        started = time.monotonic()
        late = _UnusableError(
            f"did not answer within {deadline.seconds:.0f} s", f"在 {deadline.seconds:.0f} 秒内未答复"
        )
        self._tool.session.max_invocation_timeout = int(deadline.seconds)
        said = ""
        try:
            chunks = self._tool.session.model.llm.invoke(
                self._config(),
                [SystemPromptMessage(content=system), UserPromptMessage(content=user)],
                stream=True,
            )
            for chunk in chunks:
                said += _text(chunk.delta.message.content)
                if deadline.has_passed() or len(said) > _LONGEST_ANSWER:
                    break
        except Exception as exc:  # noqa: BLE001  # the SDK raises bare Exception, with the host's answer in it
            # Not the host's words: providers repeat keys and prompts in theirs. Dify's own log has them.
            if "permission denied" in str(exc):
                raise _UnusableError("may not be asked (permission denied)", "无权调用（permission denied）") from None
            if deadline.has_passed():
                raise late from None
            raise _UnusableError("could not be asked", "无法调用") from None
        if deadline.has_passed():
            raise late
        logger.info("the language model %s answered in %.1f s", self._name, time.monotonic() - started)
        return said

    def _config(self) -> LLMModelConfig:
        chosen = self._wish.model
        return LLMModelConfig(
            provider=chosen.provider,
            model=chosen.model,
            mode=chosen.mode,
            completion_params=dict(chosen.completion_params),
        )


def _text(content: Any) -> str:
    """A message's text, which is one, or parts of which some are texts."""
    if isinstance(content, list):
        return "".join(part.data for part in content if part.type == "text")
    return content or ""
