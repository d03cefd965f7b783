"""Chats that remember the last picture: a draft before the fine one, and one that is changed."""

from scripts.apps import nodes, tools
from scripts.apps.canvas import App
from scripts.apps.nodes import answer, assign, branch, classifier

_REWRITER = """
    You write prompts for an image model. The prompt of the last draft (empty for a new one):
    <last>
    {{#conversation.prompt#}}
    </last>

    If the user changes the last draft, write its whole prompt anew with the change; otherwise write a new one. Subject
    first, then setting, light and style, in one paragraph of at most 60 words, in English: the draft's model reads no
    other language. Put lettering that must appear in quotation marks and leave it as it is. Answer with the prompt
    only.
"""


def draft_then_fine() -> App:
    app = App(
        "draft-then-fine",
        "advanced-chat",
        icon="✏️",
        title="Draft, then fine · 先草图后精图",
        description=(
            "A quick draft with SDXL-Turbo; the fine picture when you say yes. 先用 SDXL-Turbo 出草图，满意后再出精图。"
        ),
        opening="What shall I draw? You get a draft first. 要画什么？先给你一张草图。",
        suggestions=("A fox reading a newspaper in a café", "月光下的竹林小屋，水墨风格"),
        remembers={"prompt": "The prompt of the last draft"},
    )
    app.add("start", nodes.start())
    meant = classifier(
        "Content? 满意吗",
        """
        A draft may have been shown before. Its prompt, empty if there is none: {{#conversation.prompt#}}
        A yes together with a wish, such as "yes, but at night", is a change.
        """,
        draft="Something new to draw, or a change to the last draft. 要画新的内容，或修改上一张草图。",
        fine="Content with the last draft as it is: yes, good, go on, make it fine. 对草图满意：好、可以、出精图。",
    )
    app.add("meant", meant)
    app.add("writer", nodes.llm("Prompt 写提示词", _REWRITER, user="{{#sys.query#}}"), row=-0.5)
    draft = tools.node("text2image", "Draft 草图", prompt="{{#writer.text#}}", template="sdxl-turbo", progress=True)
    app.add("draft", draft, row=-0.5)
    question = "A draft. Say *yes* for the fine picture, or what to change. 这是草图。满意请说“好”，或告诉我改什么。"
    app.add("shown", answer("Draft 草图", f"{nodes.live('draft')}\n\n{question}"), row=-0.5)
    app.add("remember", assign("Remember 记住", prompt=("writer", "text")), row=-0.5)
    app.flow("start", "meant:draft", "writer", "draft", "shown", "remember")

    app.add("known", branch("A draft? 有草图吗", yes=(("conversation", "prompt"), "not empty", "")), row=0.5)
    fine = tools.node("text2image", "Fine 精图", prompt="{{#conversation.prompt#}}", progress=True, timeout=540)
    app.add("fine", fine, row=0.5)
    app.add("finished", answer("Fine 精图", nodes.live("fine")), row=0.5)
    app.add("nothing", answer("Nothing yet 还没有", "Tell me first what to draw. 请先告诉我画什么。"), row=1.3)
    app.flow("meant:fine", "known:yes", "fine", "finished")
    app.flow("known:false", "nothing")
    return app


def change_its_colour() -> App:
    app = App(
        "change-its-colour",
        "advanced-chat",
        icon="🖌️",
        title="Change its colour · 改颜色",
        description=(
            'Draw, then "change its colour", "now at night"; or attach a photo. '
            "先作图，再“换个颜色”“改成夜晚”；也可上传照片。"
        ),
        opening=("What shall I draw? Or attach a photo and say what to change. 要画什么？也可以上传照片并说明怎么改。"),
        suggestions=("A red bicycle at a wall", "一辆靠墙的红色自行车"),
        remembers={"picture": "The prompt_id of the last picture"},
        uploads=True,
    )
    app.add("start", nodes.start())
    app.add("attached", branch("A photo? 有照片吗", yes=(("sys", "files"), "not empty", "")))
    wish = "{{#sys.query#}}"
    photo = tools.node("image2image", "Photo 修改照片", prompt=wish, images=("sys", "files"), progress=True)
    app.add("photo", photo, row=-1)
    app.add("photo_shown", answer("Picture 图片", nodes.live("photo")), row=-1)
    app.flow("start", "attached:yes", "photo", "photo_shown", "last")

    app.add("known", branch("A picture? 有图吗", yes=(("conversation", "picture"), "not empty", "")), row=0.5)
    meant = classifier(
        "Which? 新图还是修改",
        'A picture was shown before. "It", "its", "the same", "now …" mean that picture.',
        new="A new picture of something else. 要画另一张新图。",
        change="A change to the last picture: colour, background, style, something added. 修改上一张图。",
    )
    app.add("meant", meant, row=0)
    last = "{{#conversation.picture#}}"
    app.add("change", tools.node("image2image", "Change 修改", prompt=wish, from_prompt_id=last, progress=True), row=0)
    app.add("change_shown", answer("Picture 图片", nodes.live("change")), row=0)
    app.add("draw", tools.node("text2image", "Draw 出图", prompt=wish, progress=True), row=1)
    app.add("draw_shown", answer("Picture 图片", nodes.live("draw")), row=1)
    app.flow("attached:false", "known:yes", "meant:change", "change", "change_shown", "last")
    app.flow("meant:new", "draw", "draw_shown", "last")
    app.flow("known:false", "draw")

    made = [(tool, "prompt_id") for tool in ("photo", "change", "draw")]
    app.add("last", nodes.first_of("Which one 哪一张", "string", *made))
    app.add("remember", assign("Remember 记住", picture=("last", "output")))
    app.flow("last", "remember")
    return app
