"""Many pictures of one thing: a product's set, all platforms, the rows of a table."""

import re
from collections.abc import Mapping
from typing import Any

from scripts.apps import nodes, tools
from scripts.apps.canvas import App

_PRODUCT_SHOTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "main": (
        "Main 主图",
        """
        {{#start.product#}}. Product photograph of this one object, centred, whole, on a pure white background, soft
        shadow, even studio light, no text. 纯白背景，商品居中，完整，无文字。
        """,
        {"size": "product_main"},
    ),
    "detail": (
        "Detail 细节图",
        """
        {{#start.product#}}. Macro product photograph, close-up of material, texture and workmanship, shallow depth of
        field, plain light grey background, no text. 细节特写，突出材质与工艺，无文字。
        """,
        {"size": "product_detail"},
    ),
    "lifestyle": (
        "Lifestyle 场景图",
        """
        {{#start.product#}}, in use: {{#start.scene#}}. Lifestyle photograph, natural light, warm and believable, the
        product in focus, no text. 生活场景，自然光，商品清晰，无文字。
        """,
        {"size": "custom", "width": 1024, "height": 768},
    ),
}
_WRITER = """
    You write prompts for an image model. Turn the user's topic into ONE prompt for a picture on social media: one
    clear subject in the middle with room around it, since it will be cut to wide and to tall shapes; then setting,
    light and style, in one paragraph of at most 60 words, in the language of the topic. No lettering unless the topic
    asks for it. Answer with the prompt only.
"""


def product_set() -> App:
    app = App(
        "product-set",
        "workflow",
        icon="🛍️",
        title="Product set · 商品套图",
        description=(
            "One description: white-background main picture 800×800, detail 1200×800, lifestyle 1024×768. "
            "一段描述生成白底主图、细节图和场景图。"
        ),
    )
    product = nodes.paragraph("product", "Product · 商品", hint="A matte black steel bottle, 500 ml · 哑光黑保温杯")
    scene = nodes.paragraph(
        "scene", "Where it is used · 使用场景", required=False, default="a bright living room", longest=500
    )
    app.add("start", nodes.start(product, scene))
    for row, (name, (title, prompt, size)) in enumerate(_PRODUCT_SHOTS.items(), start=-1):
        app.add(name, tools.node("text2image", title, prompt=nodes.one_line(prompt), **size), row=row)
        app.flow("start", name, "end")
    app.add("end", nodes.end(**{name: ((name, "files"), "array[file]") for name in _PRODUCT_SHOTS}))
    return app


def social_platforms() -> App:
    app = App(
        "social-platforms",
        "workflow",
        icon="📱",
        title="All platforms · 全平台配图",
        description=(
            "One topic, one prompt, a picture in the exact pixels of every platform. 一个主题，按各平台的精确尺寸出图。"
        ),
    )
    known = [size for size, label in tools.labels("text2image", "size").items() if re.search(r"\d×\d", label)]
    # A poster is no platform; it is drawn where it is asked for.
    usual = [size for size in known if size != "a4_poster"]
    topic = nodes.paragraph("topic", "Topic · 主题", hint="Mid-Autumn Festival, mooncake gift box · 中秋月饼礼盒")
    platforms = nodes.paragraph(
        "platforms",
        "Platforms, with commas; empty: all · 平台（逗号分隔，留空为全部）",
        required=False,
        hint=", ".join(usual),
        longest=500,
    )
    app.add("start", nodes.start(topic, platforms))
    choose = nodes.snippet("choose_sizes", SIZES=known, USUAL=usual)
    inputs = {"platforms": ("start", "platforms")}
    app.add("sizes", nodes.code("Sizes 尺寸", choose, inputs, sizes="array[string]", unknown="string"))
    app.add("writer", nodes.llm("Prompt 写提示词", _WRITER, user="{{#start.topic#}}"))
    each = nodes.iteration("Each platform 逐个平台", ("sizes", "sizes"), collects=("draw", "files"))
    app.add("each", each)
    draw = tools.node("text2image", "Draw 出图", prompt="{{#writer.text#}}", size=("each", "item"))
    app.add("draw", draw, inside="each")
    inputs = {"pictures": ("each", "output"), "sizes": ("sizes", "sizes"), "unknown": ("sizes", "unknown")}
    app.add("told", nodes.code("Report 汇报", nodes.snippet("report_sizes"), inputs, report="string"))
    app.add(
        "end",
        nodes.end(
            pictures=(("each", "output"), "array[file]"),
            report=(("told", "report"), "string"),
            prompt=(("writer", "text"), "string"),
        ),
    )
    app.flow("start", "sizes", "writer", "each", "told", "end")
    app.flow("eachstart", "draw")
    return app


def batch_from_table() -> App:
    app = App(
        "batch-from-table",
        "workflow",
        icon="📋",
        title="A batch from a table · 表格批量出图",
        description=(
            "Paste a table: a prompt in each row, with a size or a seed if you like. "
            "粘贴表格，每行一个提示词，可带尺寸和种子。"
        ),
    )
    hint = "prompt,size,seed ⏎ a red fox,1:1,42 ⏎ 中秋月饼礼盒,xiaohongshu"
    app.add("start", nodes.start(nodes.paragraph("table", "Table · 表格", hint=hint, longest=20000)))
    sizes = [size for size in tools.options("text2image", "size") if size != "custom"]
    parse = nodes.snippet("parse_table", SIZES=sizes)
    inputs = {"table": ("start", "table")}
    app.add("parse", nodes.code("Read 读取表格", parse, inputs, rows="array[string]", problems="string"))
    app.add("each", nodes.iteration("Each row 逐行", ("parse", "rows"), collects=("draw", "files")))
    fields = dict.fromkeys(("prompt", "size", "seed", "negative"), "string")
    unpack = nodes.code("Row 一行", nodes.snippet("unpack_row"), {"row": ("each", "item")}, **fields)
    app.add("row", unpack, inside="each")
    draw = tools.node(
        "text2image",
        "Draw 出图",
        prompt="{{#row.prompt#}}",
        negative_prompt="{{#row.negative#}}",
        size=("row", "size"),
        seed="{{#row.seed#}}",
    )
    app.add("draw", draw, inside="each")
    inputs = {"pictures": ("each", "output"), "rows": ("parse", "rows"), "problems": ("parse", "problems")}
    app.add("told", nodes.code("Report 汇报", nodes.snippet("report_rows"), inputs, report="string"))
    app.add("end", nodes.end(pictures=(("each", "output"), "array[file]"), report=(("told", "report"), "string")))
    app.flow("start", "parse", "each", "told", "end")
    app.flow("eachstart", "row", "draw")
    return app
