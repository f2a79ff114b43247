"""The server's own sliders, which the live panel is measured against."""

from streamlit.testing.v1 import AppTest

from vae.bench.live import _SLIDERS, ROOT


def test_the_script_of_the_servers_sliders_runs():
    page = AppTest.from_string(_SLIDERS, default_timeout=120)
    page.query_params["path"] = str(ROOT / "checkpoints" / "digits-2d")
    page.run()
    assert not page.exception
    assert [slider.label for slider in page.slider] == ["μ₁", "σ₁", "μ₂", "σ₂"]
