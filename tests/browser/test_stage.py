"""The stage: a page large and alone, with a teacher's stops under the arrow keys."""

import json

import pytest
from browser.driver import Map, Panel, settled
from playwright.sync_api import Page, expect

from vae.lessons import course
from vae.live.constants import STAGE_ZOOM

SCREENS = [(1280, 720), pytest.param(1920, 1080, marks=pytest.mark.slow)]
# The smallest type that is seen, in pixels of the screen, and its text.
SMALLEST = """() => {
  let found = [Infinity, ""];
  const look = (root, zoom) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) look(element.shadowRoot, zoom);
      const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      const box = element.getBoundingClientRect();
      if (!own || !box.width || !box.height || box.bottom < 0 || box.top > innerHeight) continue;
      const style = getComputedStyle(element);
      if (style.visibility === "hidden" || element.closest("style, script, sub")) continue;
      if (element.matches("tspan") || style.opacity === "0" || style.fontSize === "0px") continue;
      const inChart = element.closest(".js-plotly-plot");
      const size = parseFloat(style.fontSize) * (inChart ? 1 : zoom);
      if (size < found[0]) found = [size, element.textContent];
    }
  };
  look(document.querySelector(".stMain"), ZOOM);
  return found;
}""".replace("ZOOM", str(STAGE_ZOOM))


def on_stage(page: Page) -> None:
    expect(page.locator("html")).to_have_class("stage")
    # The charts are drawn anew, with larger type.
    page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot')].every("
        "(plot) => plot._fullLayout && plot._fullLayout.font.size > 15)"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), SCREENS, ids=["small", "large"])
def test_what_is_on_the_stage_is_large_and_the_hand_reaches_it(new_page, width, height):
    page = new_page("/?run=digits-2d&point=100", viewport={"width": width, "height": height})
    plot, panel = Map(page), Panel(page)
    page.keyboard.press("p")
    on_stage(page)
    expect(page.locator(".stSidebar")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    size, text = page.evaluate(SMALLEST)
    assert size >= 20, text

    plot.rest()
    x, y = plot.at(-2.4, 2.4)  # where no point is
    page.mouse.click(x, y)
    page.wait_for_function(  # q stands where the hand has put it
        """([x, y]) => [...document.querySelectorAll(".st-key-map svg ellipse")].some((e) => {
          const box = e.getBoundingClientRect();
          return Math.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y) < 2;
        })""",
        arg=[x, y],
    )
    page.keyboard.press("Escape")
    expect(page.locator("html")).not_to_have_class("stage")
    expect(page.locator(".stSidebar")).to_be_visible()
    panel.rest()


@pytest.mark.slow
def test_stops_are_added_followed_renamed_saved_and_loaded(new_page, tmp_path):
    page = new_page("/?run=digits-2d&point=100")
    Map(page)
    page.keyboard.press("p")
    on_stage(page)
    page.keyboard.press("ArrowRight")
    place = page.locator(".stage-place")
    expect(place).to_have_text("No stops yet: A makes this view one.")
    page.keyboard.press("a")
    expect(place).to_contain_text("1 of 1: Where does the data live")

    page.keyboard.press("s")
    dialog = page.locator("dialog.stage-stops")
    dialog.get_by_label("Title of stop 1").fill("Before <b>")
    dialog.get_by_label("Title of stop 1").press("Tab")
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="Save to a file").click()
    stops = json.loads(saved.value.path().read_text(encoding="utf-8"))["stops"]
    assert [(stop["title"], stop["page"]) for stop in stops] == [("Before <b>", "explore")]
    assert "point=100" in stops[0]["query"]

    file = tmp_path / "stops.json"
    elsewhere = {"title": "A line", "page": "points", "query": "run=sprites-2d&point=7"}
    gone = {"title": "Gone", "page": "explore", "query": "run=not-here"}
    for text, said in (("{", "not JSON"), ('{"stops": [7]}', "1 of 1 stops cannot be used")):
        file.write_text(text, encoding="utf-8")
        dialog.get_by_label("Load stops from a file").set_input_files(file)
        expect(dialog.get_by_role("alert")).to_contain_text(said)
        expect(dialog.get_by_label("Title of stop 1")).to_have_value("Before <b>")  # nothing lost
    file.write_text(json.dumps({"stops": [*stops, elsewhere, gone]}), encoding="utf-8")
    dialog.get_by_label("Load stops from a file").set_input_files(file)
    expect(dialog.get_by_label("Title of stop 3")).to_have_value("Gone")
    dialog.get_by_role("button", name="Close").click()

    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(place).to_have_text("2 of 3: A line")
    expect(page.get_by_text("Point 7, label")).to_be_visible()
    expect(page.locator("html")).to_have_class("stage")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("There is no checkpoint named not-here")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Point 7, label")).to_be_visible()

    page.keyboard.press("l")
    page.mouse.move(300, 200)
    dot = page.locator(".stage-laser").bounding_box()
    assert abs(dot["x"] + dot["width"] / 2 - 300) < 3
    assert abs(dot["y"] + dot["height"] / 2 - 200) < 3
    page.keyboard.press("Escape")
    page.reload()
    page.get_by_role("button", name="Present").click()
    on_stage(page)
    page.keyboard.press("s")
    expect(dialog.get_by_label("Title of stop 2")).to_have_value("A line")
    lesson = course.LESSONS["closed-form"]
    dialog.get_by_label("Stops that come with the app").select_option(lesson.title)
    last = dialog.get_by_label(f"Title of stop {len(lesson.steps)}")
    expect(last).to_have_value(lesson.steps[-1].title)


def test_keys_that_are_typed_into_a_field_stay_there(new_page):
    page = new_page("/train?run=digits-2d")
    name = page.get_by_label("Name")
    name.fill("")
    name.press_sequentially("pal")
    expect(name).to_have_value("pal")
    expect(page.locator("html")).not_to_have_class("stage")


def test_without_stops_the_arrows_turn_the_steps_of_a_lesson(new_page):
    page = new_page("/learn?run=digits-2d&lesson=closed-form", new=True)
    steps = page.get_by_role("button", name="Present")
    steps.click()
    expect(page.locator("html")).to_have_class("stage")
    settled(page)  # a key that comes before the steps are there is nobody's
    before = page.locator(".stMain h5").first.inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".stMain h5").first).not_to_have_text(before)
    assert "step=" in page.url
