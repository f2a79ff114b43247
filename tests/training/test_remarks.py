import pytest
from training.small import config, digits, make, train

from vae.training.objectives import MeanTerms
from vae.training.remarks import remark


@pytest.mark.parametrize(("beta", "said"), [(0.0, "β = 0"), (100.0, "Posterior collapse")])
def test_an_extreme_beta_trains_and_is_remarked_upon(beta, said):
    settings = {"beta": beta, "learning_rate": 0.01, "kl_warmup": 0}
    (*_, last) = train(make(), config(20, **settings), digits(512))
    assert said in remark(config(20, **settings), last.test)


def test_an_ordinary_training_needs_no_remark():
    assert remark(config(), MeanTerms(20.0, 5.0)) is None
    assert "longer KL warm-up" in remark(config(), MeanTerms(30.0, 0.01))
