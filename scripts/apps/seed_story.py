"""The seed story: a sentence, the house's notes about style, a prompt by a language model, a picture."""

from typing import Any

from scripts.apps import nodes, tools
from scripts.apps.canvas import App, features, header

_WRITER = """
    You write prompts for an image model.

    House notes (may be empty). Follow those that concern the request, and ignore the rest:
    <notes>
    {{#context#}}
    </notes>

    Turn the user's request into ONE prompt: subject first, then setting, light, composition and style, in one
    paragraph of at most 80 words. Write in the language of the request, Chinese included. Keep names, numbers and
    lettering exactly; put lettering that must appear in quotation marks. If the request changes an earlier one, write
    the whole prompt anew. Answer with the prompt only: no heading, no quotation marks around it, no explanation.
"""

_AGENT = """
    You are a designer's assistant with an image studio. 你是一位设计助理，可以使用图片工作室。

    - Answer in the user's language. 用用户的语言回答。
    - Before you draw, look into the knowledge, if there is any: the style notes say how pictures of this house look,
      the product list what a product looks like. Follow them. 作图前先查阅知识库中的风格说明与产品资料，并遵循它们。
    - New picture: call text2image once, with a prompt of one paragraph: subject, setting, light, composition, style.
      Take the size that suits the purpose, such as xiaohongshu, wechat_cover or product_main; 1:1 if none is said.
    - Change to a picture that you made ("its colour", "without the cup"): call image2image with from_prompt_id, the
      prompt_id that the last call reported.
    - If a call says queued or timed_out, tell the user so; call get_result with its prompt_id when they ask again.
    - If a call fails, tell in one sentence what to do about it, and do not repeat it unchanged.
    - Pictures are shown to the user by themselves: never describe them as links, never invent an address.
"""


def seed_story_workflow() -> App:
    app = App(
        "seed-story-workflow",
        "workflow",
        icon="📖",
        title="Story picture · 故事配图",
        description="One sentence and your style notes become a picture. 一句话加上你的风格说明，生成一张图片。",
    )
    ratios = [size for size in tools.options("text2image", "size") if ":" in size]
    app.add(
        "start",
        nodes.start(
            nodes.paragraph(
                "sentence", "One sentence · 一句话", hint="A lighthouse keeper and the gulls · 灯塔守护人与海鸥"
            ),
            nodes.choice("size", "Width to height · 宽高比", ratios, "1:1"),
        ),
    )
    app.add("notes", nodes.knowledge("Style notes 风格说明", ("start", "sentence")))
    app.add("writer", nodes.llm("Prompt 写提示词", _WRITER, user="{{#start.sentence#}}", context=("notes", "result")))
    app.add("draw", tools.node("text2image", "Draw 出图", prompt="{{#writer.text#}}", size=("start", "size")))
    app.add(
        "end",
        nodes.end(
            pictures=(("draw", "files"), "array[file]"),
            prompt=(("writer", "text"), "string"),
            seed=(("draw", "seed"), "number"),
            prompt_id=(("draw", "prompt_id"), "string"),
        ),
    )
    app.flow("start", "notes", "writer", "draw", "end")
    return app


def seed_story_chatflow() -> App:
    app = App(
        "seed-story-chatflow",
        "advanced-chat",
        icon="💬",
        title="Story picture in a chat · 聊天配图",
        description="In a chat, with live progress; then say what to change. 在聊天中作图，实时显示进度，可继续修改。",
        opening="Tell me in one sentence what to draw. 用一句话告诉我画什么。",
        suggestions=("A lighthouse keeper feeds the gulls at dusk", "雨后的江南小巷，一只猫在屋檐下"),
    )
    app.add("start", nodes.start())
    app.add("notes", nodes.knowledge("Style notes 风格说明", ("sys", "query")))
    app.add("writer", nodes.llm("Prompt 写提示词", _WRITER, context=("notes", "result"), memory=True))
    app.add("draw", tools.node("text2image", "Draw 出图", prompt="{{#writer.text#}}", progress=True))
    app.add("show", nodes.answer("Picture 图片", f"{nodes.live('draw')}\n\n{{{{#writer.text#}}}}"))
    app.flow("start", "notes", "writer", "draw", "show")
    return app


def seed_story_agent() -> dict[str, Any]:
    """An Agent app (``agent-chat``): it has no graph."""
    called = ("text2image", "image2image", "get_result", "cancel_job", "server_info")
    return {
        **header(
            "agent-chat",
            "🎨",
            "Design assistant · 设计助理",
            "An agent that draws by your style notes and product list. 按你的风格说明和产品资料作图的智能体。",
        ),
        "model_config": {
            "model": {**nodes.MODEL, "completion_params": {"temperature": 0.3}},
            "prompt_type": "simple",
            "pre_prompt": nodes.tidy(_AGENT),
            "chat_prompt_config": {},
            "completion_prompt_config": {},
            "user_input_form": [],
            "dataset_query_variable": "",
            "dataset_configs": {
                "datasets": {"datasets": []},
                "retrieval_model": "multiple",
                "top_k": 4,
                "reranking_enable": False,
            },
            "agent_mode": {
                "enabled": True,
                "max_iteration": 5,
                "strategy": "function_call",
                "prompt": None,
                "tools": [tools.agent_tool(tool) for tool in called],
            },
            "external_data_tools": [],
            "more_like_this": {"enabled": False},
            "annotation_reply": {"enabled": False},
            **features(
                "What shall I draw? I know the style notes and the products that you gave me. "
                "要画什么？我会参考你提供的风格说明和产品资料。",
                ("A Xiaohongshu cover for the Aurora desk lamp", "画一张“山野”保温杯的商品主图，再把杯身改成深绿色"),
                uploads=False,
            ),
        },
    }
