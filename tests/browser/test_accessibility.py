"""What a checker finds on each page: contrast, names, alternative texts, headings."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.driver import settled
from playwright.sync_api import expect

PAGES = ("",)
MORE_PAGES = (
    "train",
    "traverse",
    "points",
    "inference",
    "diagnose",
    "compare",
    "learn",
    "gaussians",
)


@pytest.mark.parametrize(
    "page_name", [*PAGES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_PAGES)]
)
def test_nothing_serious_is_found_light_or_dark(new_page, page_name):
    page = new_page(f"/{page_name}")
    expect(page.get_by_role("heading", level=2)).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(500)  # colours change gradually
        settled(page)
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [
            (one["id"], node["html"][:200], node["failureSummary"])
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert not serious
