"""The check of what a caller says by a moderation model of Dify's."""

import logging
from collections.abc import Sequence

from dify_plugin import Tool
from dify_plugin.entities.model.moderation import ModerationModelConfig

from comfybridge.deadline import Deadline
from comfybridge.errors import Failed, InvalidInput
from comfybridge.parameters import Call

logger = logging.getLogger("comfybridge")


def check(tool: Tool, call: Call, deadline: Deadline) -> None:
    """Ask the model that the app chose, if it chose one; only what the model lets pass goes on.

    Raises:
        InvalidInput: the model objects.
        Failed: it cannot be asked.
    """
    if objects(tool, call, call.texts, deadline):
        raise InvalidInput(
            "The moderation model of this app objects to the prompt: change its words.",
            "本应用的审核模型未通过该提示词：请修改后重试。",
        )


def objects(tool: Tool, call: Call, texts: Sequence[str], deadline: Deadline) -> bool:
    """Whether the model that the app chose, if it chose one, flags one of the texts.

    Raises:
        Failed: it cannot be asked.
    """
    if call.moderation_model is None or not texts:
        return False
    chosen, model = call.moderation_model, call.moderation_model.shown
    # The SDK counts silent seconds, and would wait for 250.
    tool.session.max_invocation_timeout = max(1, int(deadline.remaining()))
    try:
        config = ModerationModelConfig(provider=chosen.provider, model=chosen.model)
        return tool.session.model.moderation.invoke(config, "\n".join(texts))
    except Exception as exc:  # noqa: BLE001  # the SDK raises bare Exception, with the host's answer in it
        logger.warning("the moderation model %s could not be asked: %s", model, type(exc).__name__)
        logger.debug("the moderation model %s could not be asked: %s", model, exc)
        raise Failed(
            f"The moderation model {model} could not check the prompt, so nothing was drawn. Check that it works in"
            " Dify's settings and that moderation_model names it as provider/model, such as"
            " openai/omni-moderation-latest, or clear moderation_model.",
            f"审核模型 {model} 无法检查提示词，因此没有生成图片。请确认它在 Dify 设置中可用，且 moderation_model"
            " 按“提供商/模型”填写，例如 openai/omni-moderation-latest，或清空 moderation_model。",
        ) from None
