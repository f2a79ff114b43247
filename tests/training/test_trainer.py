import itertools
import math

import pytest
import scipy.linalg
import torch
from sklearn.decomposition import PCA
from torch import nn
from training.small import (
    ONE_BATCH,
    config,
    digits,
    equal,
    make,
    numbers,
    still,
    train,
    weights,
)

from vae.analysis.embedding import embed
from vae.config import FAMILIES, LIKELIHOODS, SCHEDULES, ModelConfig, TrainConfig
from vae.core import gaussian
from vae.core.elbo import point_terms
from vae.data import catalogue
from vae.training.objectives import MeanTerms, mean_terms
from vae.training.trainer import EpochStats, NonFiniteLoss, fit

# Reproducibility


@pytest.mark.parametrize("family", FAMILIES)
def test_two_trainings_with_one_seed_are_equal_bit_for_bit(family):
    runs = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)  # of no consequence
        model = make(family=family)
        history = train(model, config(seed=5))
        runs.append((weights(model), [numbers(stats) for stats in history]))
    assert equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_another_seed_gives_other_weights():
    models = [make(), make()]
    for seed, model in enumerate(models):
        train(model, config(seed=seed))
    assert not equal(weights(models[0]), weights(models[1]))


def test_training_leaves_the_global_generator_alone():
    model, images = make(), digits()
    before = torch.get_rng_state()
    train(model, config(), images)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_largest_seed_that_a_config_allows_can_be_used():
    assert len(train(make(), config(1, seed=2**63 - 1))) == 1


# What is optimised


@pytest.mark.parametrize(("family", "likelihood"), list(itertools.product(FAMILIES, LIKELIHOODS)))
def test_the_loss_falls_for_every_family_and_likelihood(family, likelihood):
    model = make(family=family, likelihood=likelihood)
    images = digits(256)
    before = mean_terms(model, images[1], gaussian.noise_of_points(range(30), 1, 2, seed=0))
    start = weights(model)
    history = train(model, config(4, kl_warmup=0, schedule="constant"), images)
    assert history[-1].test.neg_elbo < history[0].test.neg_elbo < before.neg_elbo
    assert history[-1].train.neg_elbo < history[0].train.neg_elbo
    end = weights(model)
    assert not any(torch.equal(start[name], end[name]) for name in start)  # all of it learns


def test_a_deep_model_beats_a_linear_one_on_held_out_digits():
    splits = [catalogue.load("digits", split).images for split in ("train", "test")]
    scores = {}
    for hidden in (ModelConfig.hidden, ()):
        model = make(hidden=hidden)
        *_, last = train(model, TrainConfig("digits", epochs=40), splits)
        scores[hidden] = last.test.neg_elbo
    assert scores[ModelConfig.hidden] < scores[()] - 0.5


def test_a_linear_gaussian_vae_finds_what_principal_components_find():
    # Probabilistic PCA is its optimum: Tipping & Bishop (1999); Lucas et al. (2019).
    splits = [catalogue.load("digits", split).images for split in ("train", "test")]
    pixels = catalogue.to_unit(splits[0]).flatten(1).double().numpy()
    pca = PCA(2).fit(pixels)
    model = make(hidden=(), likelihood="gaussian")
    train(model, TrainConfig("digits", 40, learning_rate=0.05, kl_warmup=0), splits)

    means = embed(model, catalogue.load("digits", "train"), n_samples=16).means()
    best = -pca.score(pixels)
    assert best - 0.02 < means["neg_elbo"] < best + 0.15
    variance = model.likelihood.logvar_x.exp().item()
    assert variance == pytest.approx(pca.noise_variance_, rel=0.02)
    decoder = next(m for m in model.decoder.modules() if isinstance(m, nn.Linear))
    angles = scipy.linalg.subspace_angles(decoder.weight.detach().numpy(), pca.components_.T)
    assert max(angles) < math.radians(3)


def test_a_larger_beta_buys_a_smaller_kl_with_a_larger_recon():
    last = {}
    for beta in (0.1, 1.0, 10.0):
        *_, last[beta] = train(
            make(), config(30, beta=beta, kl_warmup=0, learning_rate=0.01), digits(512)
        )
    kl, recon = (
        [getattr(last[b].test, name) for b in (0.1, 1.0, 10.0)] for name in ("kl", "recon")
    )
    assert kl[0] > kl[1] + 0.5 > kl[2] + 0.5
    assert recon[0] < recon[1] < recon[2]


def test_a_gradient_is_cut_as_torch_cuts_it():
    length, images = 0.5, digits(20)
    model, by_hand = still(make()), still(make())
    terms = point_terms(by_hand, catalogue.to_unit(images[0]), torch.zeros(1, 20, 2))
    (terms.recon + terms.kl).mean().backward()
    before = nn.utils.clip_grad_norm_(by_hand.parameters(), length)
    gradients = []
    train(
        model,
        config(1, max_grad_norm=length, **ONE_BATCH),
        images,
        on_step=lambda *_: gradients.extend(p.grad.clone() for p in model.parameters()),
    )
    assert before > 2 * length
    for gradient, expected in zip(gradients, by_hand.parameters(), strict=True):
        torch.testing.assert_close(gradient, expected.grad, rtol=1e-3, atol=1e-5)


def test_the_average_of_the_weights_is_what_its_formula_says():
    decay, images = 0.7, digits(100)
    plain, steps = make(), []
    train(plain, config(4), images, on_step=lambda *_: steps.append(weights(plain)))
    averaged = make()
    train(averaged, config(4, weight_average=decay), images)
    expected = None
    for done, newest in enumerate(steps, start=1):  # 16 steps
        kept = min(decay, (done - 1) / (done + 9))
        expected = {
            name: tensor if expected is None else kept * expected[name] + (1 - kept) * tensor
            for name, tensor in newest.items()
        }
    for name, tensor in weights(averaged).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
        assert not torch.equal(tensor, steps[-1][name])


def test_patience_ends_the_training_and_keeps_the_best_weights():
    model, images, seen = make(), digits(), []
    settings = {"patience": 2, "learning_rate": 0.3, "schedule": "constant"}
    for stats in fit(model, *images, config(50, **settings), "cpu"):
        seen.append((stats.test.neg_elbo, weights(model)))
    scores = [score for score, _ in seen]
    best = scores.index(min(scores))
    assert len(seen) == best + 3 < 50
    assert equal(weights(model), seen[best][1])
    eps = gaussian.noise_of_points(range(30), 1, 2, seed=0)
    kept = mean_terms(model, images[1], eps)
    assert kept.neg_elbo == pytest.approx(scores[best], rel=1e-6)


def test_without_patience_the_last_weights_are_kept():
    model, images = make(), digits()
    (*_, last) = fit(model, *images, config(6, learning_rate=0.3, schedule="constant"), "cpu")
    eps = gaussian.noise_of_points(range(30), 1, 2, seed=0)
    assert mean_terms(model, images[1], eps).neg_elbo == pytest.approx(last.test.neg_elbo, rel=1e-6)


@pytest.mark.parametrize("binarise", ["input", "all"])
def test_pixels_are_drawn_anew_in_every_epoch(binarise):
    # The weights stand still, and posteriors are points: what differs is the draws.
    settings = {"learning_rate": 1e-12, "schedule": "constant", "binarise": binarise}
    history = train(still(make()), config(4, **settings))
    assert len({stats.train.recon for stats in history}) == 4
    settings["binarise"] = "off"
    history = train(still(make()), config(4, **settings))
    recon = [stats.train.recon for stats in history]
    assert recon == pytest.approx([recon[0]] * 4, rel=1e-5)


def test_drawn_pixels_cost_what_grey_ones_cost_on_average():
    # E log p(b|z) = log p(x|z), as the Bernoulli density is linear in x; a decoder that ignores z.
    def recon(binarise: str) -> list[float]:
        model = make(hidden=())
        layer = next(m for m in model.decoder.modules() if isinstance(m, nn.Linear))
        layer.weight.data.zero_()
        layer.bias.data.copy_(torch.linspace(-2, 2, 64))
        settings = {"learning_rate": 1e-12, "schedule": "constant", "binarise": binarise}
        return [stats.train.recon for stats in train(model, config(40, **settings))]

    drawn = torch.tensor(recon("all"), dtype=torch.float64)
    (grey, *_) = recon("off")
    assert drawn.std() > 0
    assert abs(drawn.mean().item() - grey) < 4 * drawn.std().item() / 40**0.5
    assert recon("input")[:3] == pytest.approx([grey] * 3, rel=1e-5)  # it is held against the grey


def test_more_images_in_a_batch_than_there_are_is_one_step():
    calls = []
    train(make(), config(2, batch_size=1000), on_step=lambda *step: calls.append(step))
    assert calls == [(1, 2), (2, 2)]


# What is reported


def test_the_reported_terms_are_means_over_all_images():
    # 100 images in batches of 32 leave a last batch of 4, which must not count for more. With a
    # learning rate of nearly nothing the weights stand still, and the KL has no noise.
    model, images = make(), digits(100)
    (stats,) = train(model, config(1, learning_rate=1e-12, schedule="constant"), images)
    for split, terms in zip(images, (stats.train, stats.test), strict=True):
        mu, logvar = model.encode(catalogue.to_unit(split))
        q = torch.distributions.Normal(mu, (logvar / 2).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mu), 1.0)
        kl = torch.distributions.kl_divergence(q, prior).sum(1).mean().item()
        assert terms.kl == pytest.approx(kl, rel=1e-4)
        eps = gaussian.noise_of_points(range(len(split)), 200, 2, seed=1)
        many = point_terms(model, catalogue.to_unit(split), eps)
        one_draw = many.recon_stderr.square().sum().mul(200).sqrt().item() / len(split)
        assert abs(terms.recon - many.recon.mean().item()) < 5 * one_draw


def test_the_held_out_terms_are_those_of_the_weights_at_the_epochs_end():
    model, images = make(), digits()
    for stats in fit(model, *images, config(3, seed=4), "cpu"):
        eps = gaussian.noise_of_points(range(30), 1, 2, seed=4)
        terms = point_terms(model, catalogue.to_unit(images[1]), eps)
        assert stats.test.recon == pytest.approx(terms.recon.mean().item(), rel=1e-5)
        assert stats.test.kl == pytest.approx(terms.kl.mean().item(), rel=1e-5)
        assert stats.test.neg_elbo == stats.test.recon + stats.test.kl


def test_the_kl_weighs_nothing_at_first_and_beta_at_last():
    # The gradient of the encoder shows the weight: with a decoder that ignores z it is all KL's.
    slopes = {}
    for epochs in (1, 100):
        model = make(hidden=())
        decoder = next(m for m in model.decoder.modules() if isinstance(m, nn.Linear))
        decoder.weight.data.zero_()
        training = fit(
            model, *digits(100), config(epochs, kl_warmup=1.0, batch_size=100), device="cpu"
        )
        next(training)  # one step
        slopes[epochs] = model.encoder.mu.bias.grad.norm().item()
    assert slopes[1] == pytest.approx(100 * slopes[100], rel=1e-4)


def one_cycle(step: int, n_steps: int, highest: float) -> float:
    """Smith's cycle in cosines: up from 1/25 over 30 %, then down to 1/250,000."""
    top, end = 0.3 * (n_steps + 1) - 1, n_steps
    if step <= top:
        start, stop, share = highest / 25, highest, step / top
    else:
        start, stop, share = highest, highest / 250_000, (step - top) / (end - top)
    return stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2


def test_the_learning_rate_reported_is_the_one_of_the_epochs_last_step():
    history = train(make(), config(10, learning_rate=0.01), digits(128))  # 4 steps an epoch
    expected = [one_cycle(4 * epoch - 1, 40, 0.01) for epoch in range(1, 11)]
    assert [stats.lr for stats in history] == pytest.approx(expected, rel=1e-6)
    assert max(expected) == pytest.approx(0.01, rel=0.02)
    history = train(make(), config(8, learning_rate=0.01, schedule="constant"), digits(32))
    assert [stats.lr for stats in history] == [0.01] * 8


def test_an_epochs_rows_are_one_per_split():
    stats = EpochStats(3, MeanTerms(10.0, 2.0), MeanTerms(11.0, 3.0), 0.5, 1e-3, 100.0, 1.5)
    shared = {"epoch": 3, "beta": 0.5, "lr": 1e-3, "images_per_s": 100.0, "seconds": 1.5}
    assert stats.rows() == [
        {"split": "train", "recon": 10.0, "kl": 2.0, "neg_elbo": 12.0, **shared},
        {"split": "test", "recon": 11.0, "kl": 3.0, "neg_elbo": 14.0, **shared},
    ]


def test_every_epoch_is_numbered_and_finite():
    history = train(make(), config(3))
    assert [stats.epoch for stats in history] == [1, 2, 3]
    for stats in history:
        assert all(math.isfinite(v) for v in (*stats.train, *stats.test, stats.lr, stats.beta))
        assert 0 < stats.images_per_s < math.inf
        assert stats.seconds > 0


# Sizes, steps, stopping


@pytest.mark.parametrize(("n_train", "n_test", "batch_size"), [(5, 3, 64), (1, 1, 64), (33, 2, 32)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_few_images_are_enough(n_train, n_test, batch_size, schedule):
    start = weights(make())
    for epochs in (1, 2, 3):
        model = make()
        train_config = config(epochs, batch_size=batch_size, schedule=schedule)
        assert len(train(model, train_config, digits(n_train, n_test))) == epochs
        assert not equal(weights(model), start)


def test_on_step_counts_every_step():
    calls = []
    train(make(), config(3), digits(100), on_step=lambda *step: calls.append(step))
    assert calls == [(i, 12) for i in range(1, 13)]  # 3 epochs of ceil(100 / 32) steps


def test_what_on_step_raises_ends_the_training():
    class Enough(Exception):
        pass

    def stop(step, _):
        if step == 6:
            raise Enough

    model, epochs = make(), []
    with pytest.raises(Enough):
        epochs.extend(fit(model, *digits(100), config(3), "cpu", stop))
    for tensor in weights(model).values():
        assert torch.isfinite(tensor).all()

    training = fit(model, *digits(100), config(3), "cpu", stop)
    assert next(training).epoch == 1  # 4 steps
    with pytest.raises(Enough):
        next(training)
    with pytest.raises(StopIteration):
        next(training)


def test_the_model_can_be_used_while_training_pauses():
    model, images = make(), digits()
    interrupted = []
    for stats in fit(model, *images, config(3), "cpu"):
        embed(model, catalogue.load("digits").first(10))
        model.eval()
        interrupted.append(numbers(stats))
    other = make()
    assert interrupted == [numbers(stats) for stats in train(other, config(3), images)]
    assert equal(weights(model), weights(other))


# Divergence


@pytest.mark.parametrize("family", FAMILIES)
def test_an_absurd_learning_rate_raises_and_gives_finite_weights_back(family):
    model = make(family=family, likelihood="gaussian")
    start = weights(model)
    with pytest.raises(NonFiniteLoss, match=r"in epoch 1, step \d+;.* than 100000$") as raised:
        train(model, config(3, learning_rate=1e5, schedule="constant"))
    assert raised.value.epoch == 1
    assert 1 <= raised.value.step <= 4
    assert equal(weights(model), start)  # no epoch has ended yet


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("poisoned_after", "epoch", "step"),
    # 4 steps an epoch; poison after the last step shows in the held-out terms.
    [(1, 1, 2), (4, 1, 4), (5, 2, 2), (6, 2, 3), (7, 2, 4), (8, 2, 4)],
)
def test_a_loss_that_is_not_finite_is_told_with_its_step(value, poisoned_after, epoch, step):
    model = make()

    def poison(done, _):
        if done == poisoned_after:
            next(model.decoder.parameters()).data.fill_(value)

    training = fit(model, *digits(100), config(3), "cpu", poison)
    for _ in range(epoch - 1):
        next(training)
    last_good = weights(model)
    with pytest.raises(NonFiniteLoss) as raised:
        next(training)
    assert (raised.value.epoch, raised.value.step) == (epoch, step)
    assert str(raised.value) == (
        f"the loss stopped being finite in epoch {epoch}, step {step}; the weights are those from "
        f"the end of epoch {epoch - 1}. Try a smaller learning rate than 0.002"
    )
    assert equal(weights(model), last_good)
    assert all(torch.isfinite(tensor).all() for tensor in last_good.values())


# Errors


def test_images_of_another_shape_are_refused():
    images = torch.zeros(10, 1, 8, 9, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"the images are 1x8x9, .* reads 1x8x8"):
        train(make(), config(), (images, images))


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (0, 0)])
def test_no_images_are_refused(sizes):
    with pytest.raises(ValueError, match="at least one training and one held-out image"):
        train(make(), config(), digits(*sizes))
