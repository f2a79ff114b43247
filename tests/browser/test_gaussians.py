"""What a hand does with two Gaussians."""

import math
import re

import pytest
import torch
from browser.driver import Wire, dragged, middle, settled
from playwright.sync_api import Locator, Page, expect

from vae.core import gaussian
from vae.lessons import gaussian_pair
from vae.lessons.gaussian_pair import Pair

ORDER = ("log_det_ratio", "minus_k", "trace", "mahalanobis")


class Duel:
    """The plane and its numbers as a hand meets them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        expect(page.locator(".plane")).to_be_visible()
        expect(page.get_by_role("tab")).to_have_count(8)
        settled(page)
        self.rest()

    def rest(self) -> None:
        """Waits until nothing moves and every sample is drawn."""
        self.page.wait_for_function(
            """() => {
                const {frame, dirty, gliding, refitting, samples} = elboRoomGaussians;
                return !frame && !dirty && !gliding && !refitting && !samples.some((s) => s.left);
            }"""
        )

    @property
    def pair(self) -> Pair:
        """As the browser has it."""
        told = self.page.evaluate("[elboRoomGaussians.P.plain, elboRoomGaussians.Q.plain]")
        return gaussian_pair.pair(
            *(gaussian_[part] for gaussian_ in told for part in ("mu", "cov"))
        )

    def handle(self, name: str) -> Locator:
        """`P mean`, or `Q 0` and `Q 1` for the axes."""
        return self.page.locator(f".handle[data-handle='{name}']")

    def kls(self) -> list[float]:
        """KL(P, Q) and KL(Q, P) as shown."""
        return [number(self.page.locator(f"[data-kl='{way}']")) for way in ("PQ", "QP")]

    def terms(self, way: str) -> list[float]:
        return [number(self.page.locator(f"[data-term='{name} {way}']")) for name in ORDER]

    def sample(self, name: str, way: str) -> tuple[float, float]:
        """A mean and its standard error as shown."""
        cell = self.page.locator(f"[data-sample='{name} {way}'] span")
        mean, error = cell.text_content().replace("−", "-").split(" ± ")
        return float(mean), float(error)

    def field(self, label: str) -> float:
        return float(self.page.get_by_label(label, exact=True).input_value())

    def status(self) -> Locator:
        return self.page.locator(".plane .status")

    def shows_what_the_library_says(self) -> None:
        """Each of the numbers, to the digits shown."""
        self.rest()
        pair = self.pair
        for way, (first, kl) in {"PQ": (pair, 0), "QP": (pair.swapped, 1)}.items():
            parts = gaussian.kl_parts(*first)
            assert self.kls()[kl] == shown(parts.kl)
            assert self.terms(way) == [shown(value) for value in parts]
            exact = {
                "kl": parts.kl,
                "quadratic_1": 2,
                "quadratic_2": parts.trace + parts.mahalanobis,
            }
            for name, value in exact.items():
                mean, error = self.sample(name, way)
                assert abs(mean - float(value)) <= 4.5 * error + 0.001, (name, way)


def number(place: Locator) -> float:
    return float(place.text_content().replace("−", "-"))


def shown(value: torch.Tensor | float) -> object:
    """How near the value that is shown must be: three decimals, or four digits."""
    return pytest.approx(float(value), abs=0.000501, rel=5.1e-4 if abs(value) >= 1e4 else 0)


def walked(page: Page) -> str:
    """The walk-through's formulas, as KaTeX keeps them for screen readers."""
    return "\n".join(page.locator("annotation[encoding='application/x-tex']").all_text_contents())


def open_page(new_page, kept: bool = True) -> tuple[Page, Duel]:
    """The page with the two Gaussians that it opens with; a kept one is as it was otherwise."""
    page = new_page("/gaussians?run=digits-2d", kept=kept)
    duel = Duel(page)
    if any((a != b).any() for a, b in zip(duel.pair, gaussian_pair.tilted(2), strict=True)):
        choose(page, duel, "Two Gaussians")
    return page, duel


def choose(page: Page, duel: Duel, preset: str) -> None:
    told = page.evaluate("elboRoomGaussians.told")
    page.get_by_role("radio", name=preset).or_(page.get_by_role("button", name=preset)).click()
    page.wait_for_function("told => elboRoomGaussians.told > told", arg=told)
    settled(page)
    duel.rest()


def test_a_mean_dragged_changes_both_kls_under_the_hand_and_tells_python_at_the_end(new_page):
    page, duel = open_page(new_page)
    for name in ("P", "Q"):
        mean_is_dragged(page, duel, Wire.of[page], name)


def mean_is_dragged(page: Page, duel: Duel, wire: Wire, name: str) -> None:
    before = duel.pair
    seen, maps = {tuple(duel.kls())}, {heat(page)}
    x, y = middle(duel.handle(f"{name} mean"))
    n_sent = len(wire.sent)
    scale = page.evaluate("elboRoomGaussians.view.scale")
    with dragged(page, (x, y), (10, -8)):
        for step in range(1, 6):
            page.mouse.move(x + 10 + 14 * step, y - 8 - 9 * step)
            duel.rest()
            seen.add(tuple(duel.kls()))
            maps.add(heat(page))
        assert len(wire.sent) == n_sent  # nothing crosses the wire in the meantime
        duel.shows_what_the_library_says()
    assert len({there for there, _ in seen}) == len({back for _, back in seen}) == 6
    assert len(maps) == 6
    settled(page)
    duel.shows_what_the_library_says()
    after = duel.pair
    moved = (after.mu1 - before.mu1) if name == "P" else (after.mu2 - before.mu2)
    assert moved.tolist() == pytest.approx([80 / scale, 53 / scale], abs=0.02)
    assert torch.equal(after.cov1, before.cov1)
    assert torch.equal(after.cov2, before.cov2)
    mu = after.mu1 if name == "P" else after.mu2
    expect(page.get_by_label(f"{name}: μ₁", exact=True)).to_have_value(f"{float(mu[0]):.4g}")
    for value in (gaussian.kl_between(*after), gaussian.kl_between(*after.swapped)):
        # Python is told a moment after the hand has let go, and answers when it can.
        page.wait_for_function(
            """text => [...document.querySelectorAll("annotation[encoding='application/x-tex']")]
                .some(formula => formula.textContent.includes(text))""",
            arg=f"{float(value):.3f}",
        )
    settled(page)


def heat(page: Page) -> str:
    return page.locator("canvas.heat").evaluate("canvas => canvas.toDataURL()")


def test_an_axis_dragged_out_grows_and_dragged_round_turns(new_page):
    page, duel = open_page(new_page)
    before = duel.pair
    (x0, y0), (x, y) = middle(duel.handle("Q mean")), middle(duel.handle("Q 0"))
    seen = {tuple(duel.kls())}
    with dragged(page, (x, y), ((x - x0) // 2, (y - y0) // 2)):
        duel.rest()
        seen.add(tuple(duel.kls()))
        values = torch.linalg.eigvalsh(before.cov2).sqrt(), torch.linalg.eigvalsh(duel.pair.cov2)
        assert float(values[1][1].sqrt()) == pytest.approx(1.5 * float(values[0][1]), rel=0.04)
        assert float(values[1][0].sqrt()) == pytest.approx(float(values[0][0]), rel=1e-6)
        # A quarter of a turn about the mean.
        page.mouse.move(x0 - (y - y0), y0 + (x - x0), steps=5)
        duel.rest()
        seen.add(tuple(duel.kls()))
        duel.shows_what_the_library_says()
    settled(page)
    turned = duel.pair.cov2
    assert turned[0, 1] == pytest.approx(-float(before.cov2[0, 1]), abs=0.03)
    assert turned[0, 0] == pytest.approx(float(before.cov2[1, 1]), rel=0.05)
    assert torch.equal(duel.pair.mu2, before.mu2)
    assert len({there for there, _ in seen}) == len({back for _, back in seen}) == 3
    duel.shows_what_the_library_says()
    expect(page.get_by_label("Q: s₁₂", exact=True)).to_have_value(f"{float(turned[0, 1]):.4g}")


@pytest.mark.slow
def test_an_axis_dragged_to_nothing_stops_with_a_sentence_and_the_page_lives(new_page):
    page, duel = open_page(new_page)
    x0, y0 = middle(duel.handle("P mean"))
    x, y = middle(duel.handle("P 1"))
    with dragged(page, (x, y), (x0 - x, y0 - y), steps=8):
        duel.rest()
        expect(duel.status()).to_contain_text("P stops at σ = 0.001")
        smallest = float(torch.linalg.eigvalsh(duel.pair.cov1)[0])
        assert math.sqrt(smallest) == pytest.approx(1e-3, rel=1e-3)
        assert all(map(math.isfinite, duel.kls()))
    settled(page)
    duel.shows_what_the_library_says()
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    with dragged(page, middle(duel.handle("P 1")), (-30, -50)):
        duel.rest()
        expect(duel.status()).to_be_empty()
    settled(page)
    duel.shows_what_the_library_says()


@pytest.mark.slow
def test_a_gaussian_can_be_taken_by_its_body_and_moved_by_arrow_keys(new_page):
    page, duel = open_page(new_page)
    before = duel.pair
    scale = page.evaluate("elboRoomGaussians.view.scale")
    x, y = middle(duel.handle("P mean"))
    with dragged(page, (x - 45, y + 20), (-40, 30)):
        duel.rest()
        moved = duel.pair.mu1 - before.mu1
        assert moved.tolist() == pytest.approx([-40 / scale, -30 / scale], abs=0.02)
        assert torch.equal(duel.pair.mu2, before.mu2)
    settled(page)
    before = duel.pair
    mean = duel.handle("P mean")
    mean.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowRight"):
        mean.press(key)
    duel.rest()
    moved = duel.pair.mu1 - before.mu1
    assert moved.tolist() == pytest.approx([28 / scale, 4 / scale])
    kls = duel.kls()
    tip = duel.handle("P 0")
    tip.focus()
    tip.press("Shift+ArrowRight")
    duel.rest()
    assert duel.kls() != kls
    assert torch.linalg.eigvalsh(duel.pair.cov1)[1] > torch.linalg.eigvalsh(before.cov1)[1]
    settled(page)
    duel.shows_what_the_library_says()
    assert duel.field("P: μ₁") == pytest.approx(float(duel.pair.mu1[0]), rel=1e-3)


def test_against_the_prior_only_p_moves_and_equation_6_is_the_kl(new_page):
    page, duel = open_page(new_page)
    page.get_by_role("button", name="P diagonal, Q = N(0, I)").click()
    duel.rest()
    settled(page)
    assert duel.pair.is_special
    expect(duel.handle("Q mean")).to_be_hidden()
    for place in ("P mean", "P 0"):
        with dragged(page, middle(duel.handle(place)), (35, -20)):
            duel.rest()
            assert duel.pair.is_special
            text = page.locator(".special output").text_content()
            first, second, total = (float(v) for v in re.findall(r"\d+\.\d{3}", text))
            pair = duel.pair
            each = gaussian.kl_to_standard_normal(pair.mu1[None], pair.cov1.diagonal().log()[None])[
                0
            ]
            assert [first, second] == [shown(value) for value in each]
            assert total == shown(each.sum())
            assert duel.kls()[0] == total
    settled(page)
    duel.shows_what_the_library_says()
    page.get_by_role("tab", name="Against the prior").click()
    expect(page.get_by_text("This pair is no such case")).to_have_count(0)


@pytest.mark.slow
def test_a_preset_glides_to_what_the_library_says(new_page):
    page, duel = open_page(new_page)
    for preset in ("A posterior and the prior", "Two classes", "Near-singular"):
        choose(page, duel, preset)
        duel.shows_what_the_library_says()
        for value in (gaussian.kl_between(*duel.pair), gaussian.kl_between(*duel.pair.swapped)):
            assert f"{float(value):.3f}" in walked(page), preset


def test_the_plane_and_its_numbers_need_no_scrolling_on_a_laptop(new_page):
    page, duel = open_page(new_page)
    all_is_in_view(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        """() => getComputedStyle(document.querySelector(".stApp")).colorScheme !== "light" """
    )
    settled(page)
    duel.rest()
    all_is_in_view(page)


def all_is_in_view(page: Page) -> None:
    places = [page.locator(".plane"), page.locator(".numbers"), page.get_by_role("tab").first]
    for place in (*places, page.get_by_label("Q: s₂₂", exact=True)):
        box = place.bounding_box()
        assert box["y"] + box["height"] <= 900
    plane, numbers = (place.bounding_box() for place in places[:2])
    assert plane["height"] >= 560
    assert numbers["x"] >= plane["x"] + plane["width"]
    for table in page.locator(".numbers table").all():
        box = table.bounding_box()
        assert box["x"] + box["width"] <= numbers["x"] + numbers["width"] + 1


@pytest.mark.slow
def test_what_was_dragged_survives_a_switch_of_pages_and_a_typed_number_moves_it(new_page, server):
    page, duel = open_page(new_page, kept=False)
    with dragged(page, middle(duel.handle("Q mean")), (-60, 40)):
        pass
    page.get_by_role("button", name="Q log(Q/P)").click()
    settled(page)
    duel.rest()
    before = duel.pair
    with server.held() as wait:  # Train is not quite done when it is left
        page.get_by_role("link", name="Train").click()
        wait()
        page.get_by_role("link", name="Gaussians").click()
        page.wait_for_timeout(1000)  # were it drawn already, its fields would fall silent
    duel = Duel(page)
    assert all(torch.equal(a, b) for a, b in zip(duel.pair, before, strict=True))
    expect(page.get_by_role("button", name="Q log(Q/P)")).to_have_attribute("aria-pressed", "true")
    duel.shows_what_the_library_says()

    field = page.get_by_label("P: s₂₂", exact=True)
    field.fill("2.5")
    field.press("Enter")
    page.wait_for_function("elboRoomGaussians.P.cov[2] === 2.5")
    duel.shows_what_the_library_says()
    assert torch.equal(duel.pair.mu2, before.mu2)

    field = page.get_by_label("P: s₁₂", exact=True)
    field.fill("9")
    field.press("Enter")
    expect(page.get_by_text("s12 of P (=9) must lie between")).to_be_visible()
    assert float(duel.pair.cov1[0, 1]) == pytest.approx(0.3)
    duel.shows_what_the_library_says()
    with dragged(page, middle(duel.handle("P mean")), (20, 20)):
        pass
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    expect(field).to_have_value("0.3")


def test_l_and_the_seed_change_the_samples_alone_and_a_step_shows_where_they_are(new_page):
    page, duel = open_page(new_page, kept=False)
    exact, errors = duel.kls(), [duel.sample("kl", "PQ")[1]]
    slider = page.get_by_label("L, the number of draws")
    for key, L in (("Home", "L = 100"), ("End", "L = 100,000")):
        slider.press(key)
        duel.rest()
        expect(page.get_by_text(L, exact=True)).to_be_visible()
        errors.append(duel.sample("kl", "PQ")[1])
    assert errors[1] > 5 * errors[0] > 10 * errors[2]
    means = duel.sample("kl", "PQ")
    page.get_by_role("button", name="Resample").click()
    duel.rest()
    assert duel.sample("kl", "PQ") != means
    assert duel.kls() == exact
    settled(page)
    duel.shows_what_the_library_says()
    assert "100,000 draws say" in walked(page)
    page.get_by_role("tab", name="From its own mean").click()
    page.get_by_role("link", name="Show the draws").click()
    expect(page.locator("table.samples")).to_have_class(re.compile("pointed-at"))
    expect(page.locator("table.samples")).to_be_in_viewport()
    assert "#" not in page.url


@pytest.mark.slow
def test_a_table_of_k_dimensions_is_typed_into(new_page):
    page, _ = open_page(new_page, kept=False)
    page.get_by_text("k dimensions", exact=True).click()
    table = page.get_by_test_id("stDataFrame").first
    expect(table).to_be_visible()
    settled(page)

    def type_covariance(text: str) -> None:
        """Between the first dimension and the second."""
        box = table.bounding_box()
        page.mouse.dblclick(box["x"] + 0.55 * box["width"], box["y"] + 52)
        expect(page.locator("#portal input")).to_be_visible()
        page.keyboard.press("Control+a")
        page.keyboard.type(text, delay=50)
        page.keyboard.press("Enter")

    total = page.locator("table.kl tr.sum")
    before = total.inner_text()
    type_covariance("2")
    expect(page.get_by_text("the covariance of P is not positive definite")).to_be_visible()
    assert total.inner_text() == before
    settled(page)
    type_covariance("0.2")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    pair = gaussian_pair.tilted(4)
    pair.cov1[0, 1] = pair.cov1[1, 0] = 0.2
    for value in (gaussian.kl_between(*pair), gaussian.kl_between(*pair.swapped)):
        expect(total).to_contain_text(f"{float(value):.3f}")
