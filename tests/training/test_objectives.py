import math

import pytest
import torch
from torch import nn
from training.small import ONE_BATCH, config, digits, make, train

from vae.config import ModelConfig
from vae.core import gaussian
from vae.core.elbo import importance_weighted_bound, point_terms
from vae.core.lattice import lattice
from vae.core.model import VAE
from vae.data import catalogue
from vae.errors import UserError
from vae.training import objectives
from vae.training.objectives import MeanTerms, mean_terms
from vae.training.trainer import NonFiniteLoss, fit


def test_one_step_is_one_step_of_adam_on_the_mean_loss_in_nats():
    # One batch of all images, and posteriors that are points: neither order nor noise matters.
    model, by_hand = make(), make()
    for m in (model, by_hand):
        m.encoder.logvar.weight.data.zero_()
        m.encoder.logvar.bias.data.fill_(-100)
    images = digits(20)
    optimiser = torch.optim.Adam(by_hand.parameters(), lr=0.01)
    terms = point_terms(by_hand, catalogue.to_unit(images[0]), torch.zeros(1, 20, 2))
    (terms.recon + 2.5 * terms.kl).mean().backward()
    optimiser.step()

    gradients = []
    (stats,) = train(
        model,
        config(1, schedule="constant", learning_rate=0.01, beta=2.5, kl_warmup=0),
        images,
        on_step=lambda *_: gradients.extend(p.grad.clone() for p in model.parameters()),
    )
    for ours, gradient, expected in zip(
        model.parameters(), gradients, by_hand.parameters(), strict=True
    ):
        torch.testing.assert_close(gradient, expected.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert stats.train.recon == pytest.approx(terms.recon.mean().item(), rel=1e-5)
    assert stats.train.kl == pytest.approx(terms.kl.mean().item(), rel=1e-5)


def test_a_dimension_within_its_free_bits_is_not_pushed():
    # Two dimensions, of which the second one's KL is below the threshold and the first one's above.
    model, by_hand = make(), make()
    images = digits(20)
    x = catalogue.to_unit(images[0])
    for m in (model, by_hand):
        m.encoder.mu.bias.data = torch.tensor([3.0, 0.0])
        m.encoder.logvar.weight.data.zero_()
        m.encoder.logvar.bias.data = torch.tensor([-60.0, 0.1])
        decoder = next(layer for layer in m.decoder.modules() if isinstance(layer, nn.Linear))
        decoder.weight.data[:, 1] = 0  # the noise of the second dimension is of no consequence
    mu, logvar = by_hand.encode(x)
    q = torch.distributions.Normal(mu, (logvar / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean(0)  # (D,)
    free = kl[1].item() + 0.05
    assert kl[1] < free < kl[0]
    recon = point_terms(by_hand, x, torch.zeros(1, 20, 2)).recon.mean()
    (recon + torch.maximum(kl, torch.tensor(free)).sum()).backward()

    gradients = []
    (stats,) = train(
        model,
        config(1, free_bits=free, **ONE_BATCH),
        images,
        on_step=lambda *_: gradients.extend(p.grad.clone() for p in model.parameters()),
    )
    assert stats.train.kl == pytest.approx(kl.sum().item(), rel=1e-5)  # reported as it is
    assert by_hand.encoder.logvar.bias.grad[1] == 0
    for gradient, expected in zip(gradients, by_hand.parameters(), strict=True):
        if expected is decoder.weight:  # its slope at z2 is the noise's; all else is as by hand
            gradient, slope = gradient[:, 0], expected.grad[:, 0]
        else:
            slope = expected.grad
        torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4)


def test_mean_terms_do_not_depend_on_their_pieces(monkeypatch):
    model, (images, _) = make(), digits(50)
    eps = gaussian.noise_of_points(range(50), 3, 2, seed=0)
    whole = mean_terms(model, images, eps)
    monkeypatch.setattr("vae.core.elbo._NUMBERS_AT_ONCE", 64 * 7)
    assert mean_terms(model, images, eps) == pytest.approx(whole, rel=1e-5)
    assert isinstance(whole, MeanTerms)


@pytest.mark.parametrize(
    ("kl_warmup", "expected"),
    # 4 steps an epoch for 5 epochs; the last step's weight is reported.
    [
        (0.0, [2, 2, 2, 2, 2]),
        (1.0, [0.4, 0.8, 1.2, 1.6, 2]),
        (0.4, [1, 2, 2, 2, 2]),
        (0.3, [4 / 3, 2, 2, 2, 2]),
    ],
)
def test_beta_climbs_over_the_warm_up_and_stays(kl_warmup, expected):
    history = train(make(), config(5, beta=2.0, kl_warmup=kl_warmup), digits(128))
    assert [stats.beta for stats in history] == pytest.approx(expected)


def test_with_one_draw_the_importance_weighted_bound_is_the_elbo_step_for_step():
    elbo, iwae = make(), make()
    one = {"objective": "iwae", "importance_samples": 1}
    for model, more in ((elbo, {}), (iwae, one)):
        for _ in train(model, config(3, **more), digits(100)):
            pass
    for ours, other in zip(elbo.parameters(), iwae.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_a_step_goes_down_the_importance_weighted_bound():
    K, model, by_hand = 5, make(), make()
    images = digits(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    eps = gaussian.draw((20, K, 2), torch.Generator().manual_seed(0))
    x = catalogue.to_unit(images[0])[order]
    found = importance_weighted_bound(by_hand, x, eps.transpose(0, 1))
    (-found.bound).mean().backward()

    gradients = []
    settings = {"objective": "iwae", "importance_samples": K, "kl_warmup": 0, **ONE_BATCH}
    (stats,) = train(
        model,
        config(1, **settings),
        images,
        on_step=lambda *_: gradients.extend(p.grad.clone() for p in model.parameters()),
    )
    for gradient, expected in zip(gradients, by_hand.parameters(), strict=True):
        torch.testing.assert_close(gradient, expected.grad, rtol=1e-4, atol=1e-5)
    terms = point_terms(make(), x, eps.transpose(0, 1))  # of q, as of any training
    assert stats.train.recon == pytest.approx(terms.recon.mean().item(), rel=1e-5)
    assert stats.train.kl == pytest.approx(terms.kl.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    "more", [{"family": "conv", "hidden": (4,)}, {"n_classes": 10}, {"likelihood": "gaussian"}]
)
def test_any_model_is_trained_by_it(more):
    model = make(**more)
    labels = torch.arange(100) % 10
    settings = config(4, objective="iwae", importance_samples=4, precision="bfloat16")
    images = digits(100)
    stats = list(fit(model, *images, settings, "cpu", labels=(labels, labels[: len(images[1])])))
    assert stats[-1].train.neg_elbo < stats[0].train.neg_elbo


def test_draws_that_would_not_fit_into_memory_are_refused(monkeypatch):
    settings = config(1, objective="iwae", importance_samples=64, batch_size=20)
    monkeypatch.setattr(objectives, "MOST_NUMBERS", 20 * 64 * 64)
    assert train(make(), settings, digits(20))
    monkeypatch.setattr(objectives, "MOST_NUMBERS", 20 * 64 * 64 - 1)
    with pytest.raises(UserError, match=r"importance_samples \(=64\).*batch_size \(=20\).*1,280"):
        train(make(), settings, digits(20))


# --- log p(x) itself

TWO_PARTS = {"objective": "evidence", "lattice_points": 64, "elbo_share": 0.5}


def by_lattice(model, x, z):
    """-log p(x) of each image over the points, pixel by pixel: torch.distributions."""
    bernoulli = torch.distributions.Bernoulli(logits=model.decode(z), validate_args=False)
    log_px = bernoulli.log_prob(x[:, None]).sum((-3, -2, -1))  # (B, M)
    return -(torch.logsumexp(log_px, 1) - math.log(len(z))), log_px.softmax(1)


@pytest.mark.parametrize("at_once", [2**23, 64 * 10])  # in one piece, and in several
def test_a_step_goes_down_minus_log_px_and_makes_q_cover_the_posterior(monkeypatch, at_once):
    monkeypatch.setattr(objectives, "_LATTICE_AT_ONCE", at_once)
    model, by_hand = make(), make()
    images = digits(20)
    draws = torch.Generator().manual_seed(0)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    gaussian.draw((20, 1, 2), draws)  # of the terms that are reported
    z = lattice(16, 2, torch.rand(2, generator=draws))  # a quarter of the points, at the start
    x = catalogue.to_unit(images[0])[order]
    neg_log_px, share = by_lattice(by_hand, x, z)
    mu, logvar = by_hand.encode(x)
    q = torch.distributions.Normal(mu[:, None], (logvar / 2).exp()[:, None])
    cross_entropy = -(share.detach() * q.log_prob(z).sum(-1)).sum(1)
    (neg_log_px + cross_entropy).mean().backward()

    gradients = []
    train(
        model,
        config(2, **TWO_PARTS, **ONE_BATCH),
        images,
        on_step=lambda *_: gradients.extend(p.grad.clone() for p in model.parameters()),
    )
    for gradient, expected in zip(gradients, by_hand.parameters(), strict=False):
        torch.testing.assert_close(gradient, expected.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("objective", "moves"), [("evidence", False), ("best", True)])
def test_the_last_epochs_are_of_the_elbo_over_the_encoder_or_over_both(objective, moves):
    model, states = make(), []
    for _ in fit(model, *digits(64), config(6, **{**TWO_PARTS, "objective": objective}), "cpu"):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    for name, value in states[-1].items():
        assert torch.equal(value, states[2][name]) == ("decoder" in name and not moves), name
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_linear_decoder_reaches_the_maximum_of_probabilistic_pca():
    # Two factors and noise, as images of six pixels.
    generator = torch.Generator().manual_seed(1)
    N, d, k = 300, 6, 2
    x = 0.5 + 0.12 * gaussian.draw((N, k), generator) @ gaussian.draw((k, d), generator) / 2
    x = x + 0.05 * gaussian.draw((N, d), generator)
    images = (255 * x.clamp(0, 1)).round().to(torch.uint8).reshape(N, 1, 2, 3)
    x = catalogue.to_unit(images).flatten(1).double()
    cov = torch.cov(x.T, correction=0)
    # Tipping & Bishop (1999), equations 3 and 8.
    values = torch.linalg.eigvalsh(cov).flip(0)
    noise = values[k:].mean()
    maximum = -(d * math.log(2 * math.pi) + values[:k].log().sum() + (d - k) * noise.log() + d) / 2

    model = VAE(ModelConfig((1, 2, 3), hidden=(), likelihood="gaussian"))
    settings = config(
        *(500,),
        objective="evidence",
        lattice_points=4096,
        elbo_share=0.002,
        batch_size=N,
        learning_rate=0.05,
    )
    train(model, settings, (images, images[:10]))
    W, b = model.decoder.body[0].weight.double(), model.decoder.body[0].bias.double()
    spread = W @ W.T + model.likelihood.logvar_x.double().exp() * torch.eye(d)
    reached = torch.distributions.MultivariateNormal(b, spread).log_prob(x).mean()
    assert maximum - 0.01 < reached.item() <= maximum + 1e-6


@pytest.mark.parametrize(
    ("of_model", "of_training", "said"),
    [
        ({"latent_dim": 3}, {}, r"latent_dim \(=3\) must be 1 or 2 for the objective evidence"),
        ({}, {"lattice_points": 2**22}, r"lattice_points \(=4,194,304\) and batch_size \(=64\)"),
    ],
)
def test_a_lattice_that_cannot_be_is_refused(of_model, of_training, said):
    with pytest.raises(UserError, match=said):
        train(make(**of_model), config(2, batch_size=64, **(TWO_PARTS | of_training)), digits(100))


def test_a_likelihood_that_underflows_on_the_whole_lattice_is_trained_all_the_same():
    model = make()
    with torch.no_grad():
        for weights in model.decoder.parameters():
            weights *= 30  # log p(x|z) of -1e4 nats: p(x|z) is 0 in any float
    assert (by_lattice(model, catalogue.to_unit(digits(20)[0]), torch.randn(50, 2))[0] > 800).all()
    history = train(model, config(6, learning_rate=0.05, **TWO_PARTS), digits(64))
    assert history[-1].test.neg_elbo < history[0].test.neg_elbo


def test_a_likelihood_that_is_no_number_ends_the_training_with_a_sentence():
    model = make()
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(1e38)
    with pytest.raises(NonFiniteLoss, match="epoch 1, step 1"):
        train(model, config(2, **TWO_PARTS), digits(64))


def test_beside_a_lattice_the_bound_draws_the_encoder_to_a_better_peak():
    # Logits of 8 z1: an image of ones is explained on the right alone, and q is on the left.
    model = make(hidden=())
    linear = model.decoder.body[0]
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        linear.weight[:, 0] = 8.0
        model.encoder.mu.bias.copy_(torch.tensor([-1.0, 0.5]))
        model.encoder.logvar.bias.fill_(-20)
    settings = config(2, **TWO_PARTS)
    x = torch.ones(3, 1, 8, 8)
    x[2] = 0  # which q explains as it should
    points = torch.tensor([[2.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])
    rest = x, torch.zeros(3, 1, 2), 1.0, 3, torch.zeros(3, dtype=torch.int64)
    loss = objectives.Loss(model, settings)
    without, _ = loss(x, *rest)
    with_it, terms = loss(x, *rest, points)
    expected = 2 * 30 * math.sqrt(1 + (3**2 + 0.5**2) / 0.3**2) / 3
    assert (with_it - without).item() == pytest.approx(expected, rel=1e-3)
    model.zero_grad()
    (with_it - without).backward()
    assert model.encoder.mu.bias.grad[0] < 0  # a step goes to the right
    assert linear.weight.grad.abs().max() == 0  # and the decoder is left alone
    assert torch.equal(terms, loss(x, *rest)[1])
