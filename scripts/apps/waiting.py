"""What takes long or goes wrong: a video that is collected later, and a friendly answer to each failure."""

from scripts.apps import nodes, tools
from scripts.apps.canvas import App
from scripts.apps.nodes import answer, assign, branch, classifier

_SENTENCES = {
    "rejected": """
        I cannot draw it like this: 这样画不了：

        {{#read.why#}}
    """,
    "timed_out": """
        It takes longer than I may wait. The picture is still being made: give this number to *Get result* later.
        超过了等待时间，图片仍在生成，稍后可用“获取结果”取回：

        `{{#read.prompt_id#}}`
    """,
    "cancelled": """
        Somebody stopped this picture. Send your wish again to start anew. 任务已被取消，重新发送即可再画。
    """,
    "lost": """
        The image server was restarted and forgot the picture. Please send your wish again.
        图片服务器重启，任务已丢失，请重新发送。
    """,
}
_OTHERWISE = """
    The picture could not be made. An administrator can see why: 未能生成图片，请管理员查看原因：

    {{#read.why#}}
"""


def long_video() -> App:
    app = App(
        "long-video",
        "advanced-chat",
        icon="🎬",
        title="Video, collected later · 长视频，稍后取",
        description="Queues a video at once and fetches it when you ask for it. 立即排队生成视频，做好后再来取。",
        opening=(
            "Describe a short video. It takes minutes: ask me later whether it is ready. "
            "描述一段短视频，需要几分钟，稍后再来问我。"
        ),
        suggestions=("A paper boat drifts down a stream, close-up", "Is it ready? 好了吗？"),
        remembers={"job": "The prompt_id of the video in the making"},
    )
    app.add("start", nodes.start())
    meant = classifier(
        "What is meant? 要什么",
        "A video may be in the making; its number, empty if there is none: {{#conversation.job#}}",
        new="Describes a video to make. 描述要做的视频。",
        collect="Asks whether the video is ready, or wants it now. 询问视频是否做好，或要取视频。",
        cancel="Wants the video stopped. 要取消视频。",
    )
    app.add("meant", meant)
    submit = tools.node("text2video", "Queue 排队", prompt="{{#sys.query#}}", wait=False, fail_branch=True)
    app.add("submit", submit, row=-1)
    queued = """
        Queued; it takes some minutes. Ask me later: *is it ready?* 已排队，需要几分钟，稍后问我“好了吗？”

        `{{#submit.prompt_id#}}`
    """
    app.add("queued", answer("Queued 已排队", queued), row=-1)
    app.add("remember", assign("Remember 记住", job=("submit", "prompt_id")), row=-1)
    app.add("refused", answer("Not queued 未排队", "{{#submit.error_message#}}"), row=-1.8)
    app.flow("start", "meant:new", "submit", "queued", "remember")
    app.flow("submit:fail-branch", "refused")

    is_known = branch("A video? 有视频吗", yes=(("conversation", "job"), "not empty", ""))
    none_yet = "No video is in the making. 当前没有正在制作的视频。"
    app.add("known", is_known, row=0.2)
    collect = tools.node(
        "get_result", "Collect 取视频", prompt_id="{{#conversation.job#}}", timeout=10, fail_branch=True
    )
    app.add("collect", collect, row=0.2)
    app.add("ready", branch("Ready? 好了吗", yes=(("collect", "status"), "is", "succeeded")), row=0)
    app.add("video", answer("Video 视频", "{{#collect.files#}}"), row=-0.3)
    waiting = "Not yet ({{#collect.status#}}). Ask again in a minute. 还没好，请一分钟后再问。"
    app.add("waiting", answer("Not yet 还没好", waiting), row=0.3)
    app.add("lost", answer("Gone wrong 出错", "{{#collect.error_message#}}"), row=0.9)
    app.add("forget", assign("Forget it 清除", job=""), row=0.9)
    app.add("nothing", answer("None yet 还没有", none_yet), row=1.5)
    app.flow("meant:collect", "known:yes", "collect", "ready:yes", "video")
    app.flow("ready:false", "waiting")
    app.flow("collect:fail-branch", "lost", "forget")
    app.flow("known:false", "nothing")

    app.add("running", is_known, row=2.1)
    app.add("cancel", tools.node("cancel_job", "Cancel 取消", prompt_id="{{#conversation.job#}}"), row=2.1)
    app.add("cancelled", answer("Cancelled 已取消", "{{#cancel.text#}}"), row=2.1)
    app.add("forget_it", assign("Forget it 清除", job=""), row=2.1)
    app.add("none", answer("None yet 还没有", none_yet), row=2.7)
    app.flow("meant:cancel", "running:yes", "cancel", "cancelled", "forget_it")
    app.flow("running:false", "none")
    return app


def friendly_failure() -> App:
    app = App(
        "friendly-failure",
        "advanced-chat",
        icon="🛟",
        title="A friendly answer to a failure · 出错也友好",
        description="A fail branch that reads outcome= and says what to do. 失败分支读取 outcome=，并告诉用户怎么办。",
        opening="What shall I draw? 要画什么？",
        suggestions=("A red fox in snow", "雪地里的红狐"),
    )
    app.add("start", nodes.start())
    draw = tools.node("text2image", "Draw 出图", prompt="{{#sys.query#}}", progress=True, timeout=300, fail_branch=True)
    app.add("draw", draw)
    app.add("picture", answer("Picture 图片", nodes.live("draw")), row=-1)
    app.flow("start", "draw", "picture")

    told = dict.fromkeys(("outcome", "prompt_id", "why"), "string")
    read = nodes.code(
        "Read the error 读取错误", nodes.snippet("read_outcome"), {"error": ("draw", "error_message")}, **told
    )
    app.add("read", read, row=0.5)
    cases = {outcome: (("read", "outcome"), "is", outcome) for outcome in _SENTENCES}
    app.add("which", branch("Which outcome? 哪种结果", **cases), row=0.5)
    app.flow("draw:fail-branch", "read", "which")
    for row, (outcome, sentence) in enumerate(_SENTENCES.items(), start=-1):
        app.add(outcome, answer(outcome, sentence), row=row)
        app.flow(f"which:{outcome}", outcome)
    app.add("failed", answer("failed", _OTHERWISE), row=len(_SENTENCES) - 1)
    app.flow("which:false", "failed")
    return app
