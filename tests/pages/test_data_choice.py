"""A model of which no known data set has the shape: what it shall be shown is one click."""

import pytest
import torch
from formats.state_dicts import examples_vae
from pages.answers import stated_terms

from vae.data import catalogue
from vae.ui.session.selection import DATA, RUN


@pytest.fixture
def odd(app, checkpoints):
    """Explore on a model of 12 x 12."""
    torch.save(dict(examples_vae(144, k=2)), checkpoints / "odd.pt")
    app.session_state[RUN] = "odd.pt"
    return app.run()


def test_the_page_says_the_shape_and_asks_what_to_show(odd):
    assert "grey images of 12 x 12, and no known data set has such" in odd.info[0].value
    assert not stated_terms(odd)
    assert not odd.error
    odd.button(key="data_nearest").click().run()
    assert odd.session_state[DATA] == f"{catalogue.nearest((1, 12, 12))} held-out"
    assert stated_terms(odd)
    assert any("esized to 12 x 12" in caption.value for caption in odd.caption)


def test_a_model_can_be_shown_what_it_draws_itself(odd):
    odd.button(key="data_prior").click().run()
    assert stated_terms(odd)
    assert not odd.error
    assert not odd.exception
    name = odd.session_state[DATA].partition(" ")[0]
    images = catalogue.load(name).images
    assert images.shape[1:] == (1, 12, 12)
    assert len(images.unique(dim=0)) > 1
    assert name not in catalogue.names()  # which every visitor sees
    odd.session_state[DATA] = "prior-of-another held-out"  # as an old link may say
    odd.run()
    assert "no known data set has such" in odd.info[0].value
