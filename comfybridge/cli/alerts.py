"""The options of who is told what is amiss with a fleet."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from comfybridge.cli import exits
from comfybridge.cli.language import say
from comfybridge.cli.serving import seconds
from comfybridge.service import webhooks

if TYPE_CHECKING:
    from comfybridge.service.alerting import Alerts

SECRET = "COMFYBRIDGE_ALERT_SECRET"  # noqa: S105  (its name)


def add_alerts(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(say("alerts", "告警"))
    where = say(
        f"tell this address; {SECRET} holds the secret, whsec_…",
        f"将告警发送到此地址；密钥 whsec_… 由环境变量 {SECRET} 提供",
    )
    group.add_argument("--alert-webhook", type=_address, metavar="URL", help=where)
    server = say("a server sick or gone for so long (default: 1m)", "服务器异常或失联达到此时长时告警（默认：1m）")
    group.add_argument("--alert-server", type=seconds, default=60.0, metavar="TIME", help=server)
    backlog = say("the oldest job has waited for so long (default: 5m)", "最早的任务等待超过此时长时告警（默认：5m）")
    group.add_argument("--alert-backlog", type=seconds, default=300.0, metavar="TIME", help=backlog)
    success = say(
        "of a template's jobs of the last 15 minutes, 20 or more, a smaller share succeeded (default: 0.9)",
        "某模板最近 15 分钟的任务（至少 20 个）成功率低于此值时告警（默认：0.9）",
    )
    group.add_argument("--alert-success", type=_share, default=0.9, metavar="SHARE", help=success)


def alerts_of(options: argparse.Namespace) -> "Alerts | None":
    """What was typed, with the secret; ends the program with a sentence where that is missing."""
    # Here, since this stands on what only the service has.
    from comfybridge.service.alerting import Alerts, Thresholds  # noqa: PLC0415

    if options.alert_webhook is None:
        return None
    secret = os.environ.get(SECRET, "")
    try:
        webhooks.key_of(secret)
    except ValueError:
        problem = say(
            f"--alert-webhook needs {SECRET}: whsec_ and 24 to 64 random bytes in Base64, for example"
            ' "whsec_$(openssl rand -base64 32)".',
            f"--alert-webhook 需要环境变量 {SECRET}：whsec_ 加上 24 到 64 个随机字节的 Base64，例如"
            ' "whsec_$(openssl rand -base64 32)"。',
        )
        sys.stderr.write(f"comfybridge: {problem}\n")
        raise SystemExit(exits.USAGE) from None
    thresholds = Thresholds(
        server_s=options.alert_server, backlog_s=options.alert_backlog, success=options.alert_success
    )
    return Alerts(url=options.alert_webhook, secret=secret, thresholds=thresholds)


def as_arguments(options: argparse.Namespace) -> list[str]:
    """The same for a child, which finds the secret where we found it."""
    if options.alert_webhook is None:
        return []
    thresholds = {"server": options.alert_server, "backlog": options.alert_backlog, "success": options.alert_success}
    typed = [part for name, value in thresholds.items() for part in (f"--alert-{name}", str(value))]
    return ["--alert-webhook", options.alert_webhook, *typed]


def _address(text: str) -> str:
    if not webhooks.is_address(text):
        mistake = say(
            f"{text!r} is no address such as https://example.com/alerts",
            f"{text!r} 不是 https://example.com/alerts 这样的地址",
        )
        raise argparse.ArgumentTypeError(mistake)
    return text


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        mistake = say(f"{text!r} is no share between 0 and 1", f"{text!r} 不是 0 到 1 之间的比例")
        raise argparse.ArgumentTypeError(mistake)
    return share
