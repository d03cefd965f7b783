"""The page at ``/`` in a real browser, over a service with its database, workers and simulated ComfyUIs."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from comfybridge.service.gateway.state import Options
from tests.browser.fleet import ADMIN, ANNA, Service, sent, service
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import folder

Opened = Callable[..., Page]
PHONE = {"width": 360, "height": 780}


def hold(fleet: Service) -> None:
    for comfyui in fleet.comfyuis:
        comfyui.hold()


def release(fleet: Service) -> None:
    for comfyui in fleet.comfyuis:
        comfyui.release()


def are(fleet: Service, state: str, count: int) -> bool:
    return bool(fleet.one("SELECT count(*) FROM jobs WHERE state = %s", state) == count)


def boats(page: Page, anna: Server, seed: int) -> tuple[Locator, str]:
    """Seven jobs, of which five wait: their rows, when they move no more, and the last one's prompt_id."""
    *_, last = [sent(anna, f"boat {number}", seed=seed + number) for number in range(7)]
    rows = page.locator(".waiting .row")
    expect(rows).to_have_count(5)
    # Those that wait in the ComfyUIs' own queues are listed first: rows move until they do.
    expect(rows.nth(1).locator(".facts")).to_contain_text("next on")
    return rows, last


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def test_bad_key_is_told_and_a_good_one_lets_in(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, says=("401",))
    page.locator("#key").fill("not a key")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#problem")).to_have_text("This key is not known, or was revoked.")

    page.locator("#key").fill(ADMIN)
    page.keyboard.press("Enter")

    expect(page.locator(".who")).to_have_text("operator · admin")
    expect(page.locator(".live")).to_have_text("Live")
    page.reload()
    expect(page.locator(".who")).to_have_text("operator · admin")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#key")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0


def test_queue_appears_and_moves(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ADMIN)
    hold(fleet)
    with closing(fleet.server(ANNA)) as anna:
        for number in range(5):
            sent(anna, f"lighthouse {number} <b>bold</b>", seed=number)
        eventually(lambda: are(fleet, "running", 2))

        expect(page.locator(".job")).to_have_count(2)
        expect(page.locator(".waiting .row")).to_have_count(3)
        # Texts are texts.
        expect(page.locator(".job .name").first).to_contain_text("<b>bold</b>")
        expect(page.locator(".waiting .facts").first).to_contain_text("for anna")
        release(fleet)
        expect(page.locator(".waiting .row")).to_have_count(0)
        expect(page.locator(".running .empty")).to_be_visible()
        expect(page.locator(".thumb")).to_have_count(5)


def test_preview_shows_for_whoever_may_see_it(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ADMIN)
    with closing(fleet.server(ANNA)) as anna:
        sent(anna, "a fox in snow", seed=77, steps=60)
        preview = page.locator(".job .preview img")
        expect(preview).to_be_visible()
        assert str(preview.get_attribute("src")).startswith("blob:")
        expect(page.locator(".job .node")).not_to_be_empty()


def test_picture_appears_and_opens(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ANNA)
    with closing(fleet.server(ANNA)) as anna:
        sent(anna, "the newest of all", seed=501)
        sent(anna, "and one more", seed=502)
    newest = page.get_by_role("button", name="Open: the newest of all")
    newest.click()
    large = page.locator("dialog.large")
    expect(large.locator(".name")).to_have_text("the newest of all")
    picture = large.locator(".stage img")
    assert eventually(lambda: picture.evaluate("image => image.naturalWidth")) == 512
    before = picture.get_attribute("src")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(large.locator(".stage img")).not_to_have_attribute("src", str(before))
    page.keyboard.press("Escape")
    expect(large).to_have_count(0)
    expect(newest).to_be_focused()


def test_cancel_of_one_and_of_all(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ANNA)
    hold(fleet)
    with closing(fleet.server(ANNA)) as anna, closing(fleet.server(ADMIN)) as admin:
        ids = [sent(anna, f"tower {number}", seed=900 + number) for number in range(8)]
        others = sent(admin, "somebody else's", seed=999)
        eventually(lambda: are(fleet, "running", 2))
        expect(page.locator(".waiting .row")).to_have_count(6)

        page.locator(".waiting .row").last.get_by_role("button").click()
        expect(page.locator(".waiting .row")).to_have_count(5)
        page.locator(".job").first.get_by_role("button").click()
        page.locator("dialog").get_by_role("button", name="Keep it").click()
        assert fleet.one("SELECT count(*) FROM jobs WHERE cancel_asked IS NOT NULL AND state <> 'ended'") == 0
        page.locator(".job").first.get_by_role("button").click()
        page.locator("dialog").get_by_role("button", name="Cancel").click()
        eventually(lambda: fleet.one("SELECT count(*) FROM jobs WHERE cancel_asked IS NOT NULL") >= 1)
        page.get_by_role("button", name="Cancel all").click()
        expect(page.locator("dialog")).to_contain_text("This cannot be taken back.")
        page.locator("dialog").get_by_role("button", name="Cancel all").click()
        expect(page.locator(".waiting .row")).to_have_count(0)
        release(fleet)
        eventually(lambda: fleet.one("SELECT count(*) FROM jobs WHERE state <> 'ended'") == 0)

    assert fleet.one("SELECT count(*) FROM jobs WHERE outcome = 'cancelled' AND prompt_id = ANY (%s)", ids) >= 6
    assert fleet.one("SELECT outcome FROM jobs WHERE prompt_id = %s", others) == "succeeded"


def test_servers_are_paused_and_drained_by_admins_only(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ADMIN)
    server = page.locator(".server").first
    server.get_by_role("button", name="Pause").click()
    expect(server.locator(".state")).to_have_text("Paused")
    server.get_by_role("button", name="Resume").click()
    expect(server.locator(".state")).to_have_text("Idle")
    server.get_by_role("button", name="Drain").click()
    page.locator("dialog").get_by_role("button", name="Back").click()
    expect(server.locator(".state")).to_have_text("Idle")
    server.get_by_role("button", name="Drain").click()
    page.locator("dialog").get_by_role("button", name="Drain").click()
    expect(server.locator(".state")).to_have_text("Draining")
    expect(page.locator(".notices")).to_contain_text("finishes what it has")

    annas = opened(fleet.url, ANNA)
    expect(annas.locator(".who")).to_have_text("anna")
    for hidden in (".servers", ".versions", ".hour svg"):
        expect(annas.locator(hidden)).to_have_count(0)


def test_nobody_sees_what_is_anothers(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ANNA)
    hold(fleet)
    with closing(fleet.server(ADMIN)) as admin, closing(fleet.server(ANNA)) as anna:
        sent(admin, "a secret plan", seed=31)
        sent(anna, "an open one", seed=32)
        eventually(lambda: are(fleet, "running", 2))
        expect(page.locator(".job .name")).to_have_text(["an open one"])
        told = anna.get("/comfybridge/overview").text
        assert "a secret plan" not in told
        mine = admin.get("/comfybridge/overview").json()
        (theirs,) = [job for job in mine["running"] if job["text"] == "a secret plan"]
        answer = anna.post("/comfybridge/cancel", json={"prompt_id": theirs["prompt_id"]})
        assert answer.status_code == 404
        assert anna.get("/comfybridge/figures").status_code == 403


def test_gateway_goes_away_and_comes_back(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ADMIN, says=("ERR_", "WebSocket is closed before the connection is established"))
    fleet.stop()
    try:
        expect(page.get_by_role("alert")).to_have_text("The gateway does not answer. Trying again until it does.")
        expect(page.locator(".server")).to_have_count(2)
    finally:
        fleet.start()
    expect(page.locator(".banner")).to_be_hidden()
    expect(page.locator(".live")).to_have_text("Live")
    with closing(fleet.server(ADMIN)) as admin:
        sent(admin, "after it came back", seed=61)
    expect(page.get_by_role("button", name="Open: after it came back")).to_be_visible()


def test_goes_on_without_a_websocket(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, says=("WebSocket",))
    page.route_web_socket("**/comfybridge/ws*", lambda socket: socket.close())
    page.locator("#key").fill(ANNA)
    page.keyboard.press("Enter")
    expect(page.locator(".live")).to_have_text("Every 2 s")
    with closing(fleet.server(ANNA)) as anna:
        sent(anna, "without a socket", seed=71)
    expect(page.get_by_role("button", name="Open: without a socket")).to_be_visible()


def test_keyboard_alone_and_focus_stays_near(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ANNA)
    hold(fleet)
    with closing(fleet.server(ANNA)) as anna:
        rows, _ = boats(page, anna, seed=800)
        rows.nth(3).get_by_role("button").focus()
        page.keyboard.press("Enter")
        expect(rows).to_have_count(4)
        expect(rows.nth(3).get_by_role("button")).to_be_focused()


def test_focus_stays_with_a_row_that_moves(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ANNA)
    hold(fleet)
    with closing(fleet.server(ANNA)) as anna:
        rows, last = boats(page, anna, seed=820)
        rows.nth(4).get_by_role("button").focus()
        fleet.connection.execute("UPDATE jobs SET number = -1 WHERE prompt_id = %s", (last,))
        expect(rows.nth(2).locator(".name")).to_have_text("boat 6")
        expect(rows.nth(2).get_by_role("button")).to_be_focused()


def test_figures_over_a_window_and_trouble_in_words(fleet: Service, opened: Opened) -> None:
    page = opened(fleet.url, ADMIN)
    with closing(fleet.server(ADMIN)) as admin:
        admin.run(graphs.solid(), extra_data={"comfybridge": {"template": "sdxl@1"}})
        fleet.connection.execute(
            """UPDATE jobs SET outcome = 'failed', is_hidden = false, ended = now(),
            reason = '{"en": "Node 3 ran out of memory.", "zh": "节点 3 显存不足。"}'
            WHERE prompt_id = (SELECT prompt_id FROM jobs ORDER BY created DESC LIMIT 1)"""
        )
    expect(page.locator(".troubles .reason").first).to_have_text("Node 3 ran out of memory.")
    page.locator("#window").select_option("1")
    expect(page.locator(".versions tbody tr")).not_to_have_count(0)
    expect(page.locator(".versions tbody")).to_contain_text("sdxl")
    page.get_by_role("button", name="中文").click()
    expect(page.locator(".troubles .reason").first).to_have_text("节点 3 显存不足。")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_looks_right_everywhere(fleet: Service, opened: Opened, shots: Path, scheme: str) -> None:
    with closing(fleet.server(ANNA)) as anna:
        anna.finished(sent(anna, "one that is done", seed=600))
        hold(fleet)
        for number in range(6):
            sent(anna, "a very long wish for a picture of everything " * 9, seed=700 + number)
        eventually(lambda: are(fleet, "running", 2))
    wide = opened(fleet.url, ADMIN, color_scheme=scheme)
    phone = opened(fleet.url, ADMIN, color_scheme=scheme, viewport=PHONE, has_touch=True, locale="zh-CN")
    for name, page in (("desktop", wide), ("phone", phone)):
        expect(page.locator(".job")).to_have_count(2)
        expect(page.locator(".versions tbody tr")).not_to_have_count(0)
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
        assert found.response["violations"] == []
        page.screenshot(path=shots / f"{name}-{scheme}.png", full_page=True)
        assert not scrolls_sideways(page)
    expect(phone.locator("#title-running")).to_have_text("运行中")
    expect(phone.locator("html")).to_have_attribute("lang", "zh-CN")
    wide.locator(".server").first.get_by_role("button", name="Drain").click()
    assert Axe().run(wide, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"] == []


def test_ten_thousand_jobs(fleet: Service, opened: Opened) -> None:
    hold(fleet)
    with closing(fleet.server(ANNA)) as anna:
        for number in range(5):
            sent(anna, "the last in line", seed=40 + number)
        eventually(lambda: are(fleet, "running", 2) and not are(fleet, "queued", 0))
    fleet.connection.execute(
        """INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number)
        SELECT 'many-' || n, owner, prompt, extra_data, targets, wants, priority, 1000 + n
        FROM (SELECT * FROM jobs WHERE state = 'queued' LIMIT 1) AS one CROSS JOIN generate_series(1, 10000) AS n"""
    )
    page = opened(fleet.url, ADMIN)
    pager = page.locator(".pager")
    expect(pager).to_contain_text("1–12 of 10,00")
    pager.get_by_role("button", name="Later in line").click()
    expect(page.locator(".position").first).to_have_text("13")
    expect(page.locator(".waiting .row")).to_have_count(12)
    fleet.connection.execute("DELETE FROM jobs WHERE prompt_id LIKE 'many-%'")
    expect(pager).to_be_hidden()


def test_empty_service_says_what_to_do(postgres: str, opened: Opened) -> None:
    with folder() as store, service(postgres, store, servers=0, with_keys=False, options=Options()) as found:
        page = opened(found.url)
        expect(page.locator(".servers .empty")).to_contain_text("comfybridge servers add")
        expect(page.locator(".pictures .empty")).to_contain_text(found.url)
        expect(page.locator(".docker")).to_contain_text(f"http://host.docker.internal:{found.port}")
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        assert Axe().run(page).response["violations"] == []
        page.context.close()
