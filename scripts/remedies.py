# ruff: noqa: INP001 (a module of scripts; the folder is no package)
"""What to do where a sentence says only what is wrong, by its beginning: for the pages on troubleshooting."""

REMEDIES: dict[str, tuple[str, str]] = {
    "ComfyUI at base_url has no *path*": (
        "Check base_url in a browser: with its path, `/system_stats` must show JSON.",
        "在浏览器中检查 base_url：加上路径后的 `/system_stats` 应显示 JSON。",
    ),
    "*asked* megapixels are more than": (
        "Ask for a smaller size or fewer pictures, or raise `max_pixels` in the credentials.",
        "请减小尺寸或数量，或在授权信息中调大 `max_pixels`。",
    ),
    "*name*: entry *number* is no file": ("Wire a file variable to it.", "请接入文件变量。"),
    "The input file*called* is no whole": (
        "Upload it again; open it in a viewer to see that it is whole.",
        "请重新上传，并确认文件可以正常打开。",
    ),
    "Which template fits the model": ("Choose the template yourself.", "请自行选择模板。"),
    "*what* '*wanted*' is not on the server: it has none": (
        "Install a model of that kind; the tool *Server info* lists what is there.",
        "请安装该类模型；“服务器信息”工具会列出已有的模型。",
    ),
    "'*name*' takes … from another node": ("Set an input that has a field.", "请设置带有输入框的参数。"),
    "'*name*' must be *what*, not": ("Write such a value.", "请填写符合要求的值。"),
    "The workflow loads *count*": ("Give fewer files.", "请减少提供的文件。"),
    "Node *node* (*title*): '*name*' is not set": (
        "Set it in ComfyUI, or by `values`.",
        "请在 ComfyUI 中设置，或用 `values` 填写。",
    ),
    "Node *node* (*title*): '*name*' is *value*": ("Correct the value.", "请改正该值。"),
    "Node *node* (*title*): '*name*' is no proper wire": (
        "Save the workflow anew in ComfyUI.",
        "请在 ComfyUI 中重新保存工作流。",
    ),
    "Node *node* (*title*): '*name*' takes *type*": ("Wire it anew in ComfyUI.", "请在 ComfyUI 中重新连线。"),
    "Node *node* (*title*): the node refuses": ("Correct the values that are named.", "请改正提到的值。"),
    "ComfyUI could not check": (
        "Look at ComfyUI's console; mostly a custom node is broken or too old.",
        "请查看 ComfyUI 控制台；多半是自定义节点损坏或过旧。",
    ),
    "Node *node* (*title*): the node calls a paid": (
        "Enter `comfy_org_api_key` in the credentials.",
        "请在授权信息中填写 `comfy_org_api_key`。",
    ),
    "Node *node* (*title*): '*name*' is wired to": ("Wire it anew in ComfyUI.", "请在 ComfyUI 中重新连线。"),
    "Node *node* (*title*): the nodes *around*": ("Take the circle out in ComfyUI.", "请在 ComfyUI 中消除循环。"),
    "Node *node* (*title*): the server does not know": (
        "Update ComfyUI or install the pack that is named.",
        "请更新 ComfyUI，或安装提到的节点包。",
    ),
    "Node *node_id* has no class_type": (
        "Export the workflow anew by *Export (API)*.",
        "请用“导出（API）”重新导出工作流。",
    ),
    "Node *node_id* is no node": ("Export the workflow anew by *Export (API)*.", "请用“导出（API）”重新导出工作流。"),
    "The nodes feed each other": ("Take the circle out in ComfyUI.", "请在 ComfyUI 中消除循环。"),
    "Node *node_id* (*title*): the wire of": ("Take the circle out in ComfyUI.", "请在 ComfyUI 中消除循环。"),
    "This JSON is no ComfyUI workflow": ("Save or export it from ComfyUI.", "请使用 ComfyUI 保存或导出的文件。"),
    "The workflow has no nodes": (
        "Switch its nodes on: all are muted or bypassed.",
        "请启用节点：目前全部被禁用或绕过。",
    ),
    "The file holds no ComfyUI workflow": (
        "Give the file as ComfyUI saved it, or the workflow's JSON.",
        "请提供 ComfyUI 保存的原文件，或工作流 JSON。",
    ),
    "The file is neither JSON": (
        "Give a JSON, PNG, WebP, or a video by ComfyUI.",
        "请提供 JSON、PNG、WebP，或 ComfyUI 生成的视频。",
    ),
    "This is not JSON": ("Copy the whole text, with all its braces.", "请复制完整的文本，包括所有括号。"),
    "values is not valid JSON": ("Write lines of `name=value` instead.", "请改用每行一个 `名称=值`。"),
    "values: line *number*": ("Write `name=value`, one a line.", "请写成 `名称=值`，每行一个。"),
    "The answer to the submission was lost": (
        "Look into ComfyUI's queue, then run it again.",
        "请查看 ComfyUI 的队列，再重新运行。",
    ),
    "from_prompt_id: no server knows": (
        "Give the picture as a file or by its address.",
        "请以文件或链接的方式提供图片。",
    ),
    "from_prompt_id: the job made": ("Write a smaller number after `#`.", "请在 `#` 后写更小的序号。"),
    "The job *prompt_id* is on no server": ("Try again when all servers are up.", "请在所有服务器恢复后重试。"),
    "ComfyUI finished without an output": (
        "Add a node that saves, such as *Save Image*.",
        "请添加保存节点，例如“保存图像”。",
    ),
    "What ComfyUI served as": (
        "Look at ComfyUI's disk and console, then run it again.",
        "请检查 ComfyUI 的磁盘和控制台，再重新运行。",
    ),
    "Somebody interrupted the job": ("Run it again if it was not meant.", "如非本意，请重新运行。"),
    "Somebody removed the job": ("Run it again if it was not meant.", "如非本意，请重新运行。"),
    "Node *node_id* (*where*) failed": (
        "The cause is ComfyUI's own; its console has the whole of it.",
        "原因来自 ComfyUI，完整内容见其控制台。",
    ),
    "No server knows the job": (
        "Look into ComfyUI's `output` folder, or run it again.",
        "请查看 ComfyUI 的 `output` 文件夹，或重新运行。",
    ),
    "The fallback *model* at fallback_url has no size": (
        "Raise `max_pixels`, or ask for fewer.",
        "请调大 `max_pixels`，或减少数量。",
    ),
    "The prompt was used as written: *model* may not": (
        "Update the plugin: an older package does not ask Dify for language models.",
        "请更新插件：旧安装包没有申请语言模型权限。",
    ),
    "The prompt was used as written: *model* could not be asked": (
        "Compare its name in `enhance_with` with Dify's settings, try it there; the log of Dify's API has its error.",
        "请核对 `enhance_with` 中的名称，并在 Dify 设置中测试该模型；其报错见 Dify API 的日志。",
    ),
    "Dify gave no address": ("Set `FILES_URL` in Dify's `.env`.", "请在 Dify 的 `.env` 中设置 `FILES_URL`。"),
    "The links of all files": ("Ask for fewer pictures at once.", "请减少一次生成的数量。"),
}
