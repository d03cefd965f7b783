"""A fleet on several machines in small: gateways, workers, ComfyUIs, PostgreSQL and an S3 server as processes."""

from tests.service.crashes import crash
from tests.service.running import folder

KINDS = ("gateway", "worker", "comfyui", "postgres", "s3")


def test_each_part_is_killed_in_turn_and_nothing_is_lost_or_doubled() -> None:
    with folder() as data:
        report = crash(data, kills=len(KINDS), jobs=40, seed=1, kinds=KINDS, s3=True, pause_s=0.3)

    assert report.wrong == [], str(report)
    assert report.jobs >= 40
    assert report.kills == dict.fromkeys(KINDS, 1)
