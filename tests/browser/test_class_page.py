"""A teacher gives a view to the class; a phone has it, and the server may go."""

import pytest
from browser.driver import Map, Panel, settled
from browser.server import Server
from playwright.sync_api import Page, expect

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
GIVE = "Give it to the class"
VIEW = "/?run=digits-2d&point=5&colour=KL&mu=0.5,-1&sigma=0.2,0.3&manifold=1"


def give(page: Page) -> str:
    """Presses the button; returns the path of the address that the class is shown."""
    Map(page)
    page.get_by_role("button", name=GIVE).click()
    shown = page.get_by_role("link", name="Open it").get_attribute("href")
    return "/class/" + shown.rpartition("/")[2]


def touch_drag(page: Page, start: tuple[float, float], by: tuple[float, float]) -> None:
    """A finger is put down, moved and lifted."""
    session = page.context.new_cdp_session(page)
    for step in range(6):
        x, y = (a + b * min(step, 4) / 4 for a, b in zip(start, by, strict=True))
        kind = {0: "touchStart", 5: "touchEnd"}.get(step, "touchMove")
        points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(30)


@pytest.mark.slow
def test_a_phone_needs_the_server_no_more_once_it_has_the_page(new_page, server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "checkpoints"
    folder.symlink_to(server.checkpoints)
    own = Server(folder, data=server.data)
    try:
        page = new_page(VIEW, of=own)
        path = give(page)
        page.keyboard.press("Escape")
        page.keyboard.press("p")
        expect(page.locator(".stage-bar")).to_be_visible()
        settled(page)
        page.keyboard.press("c")
        code = page.locator("dialog.stage-code")
        expect(code).to_contain_text(path)
        code.click()
        expect(code).to_be_hidden()
        page.keyboard.press("Escape")
        phone = new_page(path, of=own, **PHONE)
        panel = Panel(phone)
    finally:
        own.stop()
    expect(phone.get_by_text("Point 5, label")).to_be_visible()
    assert phone.get_by_label("Colour").input_value() == "KL"
    assert panel.q["mu"] == [0.5, -1]
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    handle = phone.locator(".elbo-handle[data-handle='mu']").bounding_box()
    before = panel.image("canvas.mean")
    centre = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    touch_drag(phone, centre, (70, 40))
    panel.rest()
    assert panel.q["mu"][0] > 0.8
    assert panel.q["mu"][1] < -1.1
    assert abs(panel.image("canvas.mean") - before).max() > 25
    picture = phone.locator("canvas.mean").bounding_box()
    assert 0 <= picture["y"] < picture["y"] + picture["height"] < handle["y"]  # above the thumb


@pytest.mark.slow
def test_a_page_that_was_taken_down_is_a_sentence(new_page, server):
    page = new_page("/?run=digits-2d")
    path = give(page)
    page.get_by_role("button", name="Take it down").first.click()
    expect(page.get_by_text("It is taken down")).to_be_visible()
    told = page.request.get(f"{server.url}{path}")
    assert told.status == 404
    assert "ask whoever gave it to you" in told.text()
