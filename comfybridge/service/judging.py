"""Whether a version keeps to its threshold, by the figures of its latest runs. Pure."""

from dataclasses import dataclass

from comfybridge.service.rollout import Sentence, Threshold

COUNTED = ("succeeded", "failed", "timed_out", "lost")
"""The outcomes that tell of a version. Callers cancel for reasons of their own, and are refused for their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of the runs that count; the seconds are the server's, from start to end, of those that succeeded."""

    runs: int = 0
    succeeded: int = 0
    median_s: float | None = None
    p95_s: float | None = None

    @property
    def success(self) -> float | None:
        return self.succeeded / self.runs if self.runs else None


def failing(threshold: Threshold, figures: Figures) -> Sentence | None:
    """Why the success rate is too low; ``None`` as long as it is not, or nobody can tell yet."""
    if threshold.success is None or figures.runs < threshold.at_least or figures.success is None:
        return None
    if figures.success >= threshold.success:
        return None
    found, least = f"{figures.success:.0%}", f"{threshold.success:.0%}"
    of = f"{figures.succeeded}/{figures.runs}"
    return (
        f"{found} of the latest {figures.runs} runs succeeded; at least {least} shall.",
        f"最近 {figures.runs} 次运行的成功率为 {found}（{of}），低于要求的 {least}。",
    )


def slow(threshold: Threshold, figures: Figures, stable: Figures) -> Sentence | None:
    """Why it takes too long beside the stable version, of which there must be as many runs."""
    if threshold.seconds is None or min(figures.succeeded, stable.succeeded) < threshold.at_least:
        return None
    if not figures.median_s or not stable.median_s or figures.median_s <= threshold.seconds * stable.median_s:
        return None
    mine, theirs = f"{figures.median_s:.1f}", f"{stable.median_s:.1f}"
    times, most = f"{figures.median_s / stable.median_s:.1f}", f"{threshold.seconds:g}"
    return (
        f"It takes {mine} s, {times} times as long as the stable version ({theirs} s); at most {most} is allowed.",
        f"耗时 {mine} 秒，是稳定版本（{theirs} 秒）的 {times} 倍，超过允许的 {most} 倍。",
    )
