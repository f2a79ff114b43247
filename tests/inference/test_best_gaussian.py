import pytest
import torch
from inference.known_models import (
    digits,
    image,
    images,
    known_posterior,
    linear_model,
    ppca,
    two_peaks,
)
from torch import Tensor

from vae.core import gaussian
from vae.core.elbo import point_terms
from vae.inference.best_gaussian import best_gaussian, lowest
from vae.inference.quadrature import exact_posterior


def white_noise(n: int, D: int) -> Tensor:
    """Noise whose second moments are those of N(0, I) exactly: quadratic means have no error."""
    drawn = gaussian.draw((n, D), torch.Generator().manual_seed(2))
    return torch.linalg.qr(drawn).Q * n**0.5


def start(D: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return gaussian.draw((D,), generator), gaussian.draw((D,), generator)


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_of_a_linear_gaussian_model_the_known_best_gaussian_is_found(latent_dim):
    model = linear_model(latent_dim)
    x = image(model)
    mean, precision = known_posterior(model, x)
    best = best_gaussian(model, x, *start(latent_dim), white_noise(64, latent_dim))
    assert torch.allclose(best.mu.double(), mean, atol=2e-3)
    # KL(q, p) of a diagonal q against a Gaussian p is least where 1 / variance is p's precision.
    assert torch.allclose(best.logvar.double(), -precision.diagonal().log(), atol=5e-3)
    off_diagonal = precision - precision.diagonal().diag()
    assert latent_dim == 1 or off_diagonal.abs().max() > 0.1  # so the exact posterior is not in it


def test_the_bounds_are_those_of_the_terms_over_the_same_noise():
    model = linear_model()
    x, (mu, logvar) = image(model), start(3)
    eps = gaussian.draw((32, 3), torch.Generator().manual_seed(5))
    best = best_gaussian(model, x, mu, logvar, eps)
    for m, v, stated in ((mu, logvar, best.neg_elbo_before), (best.mu, best.logvar, best.neg_elbo)):
        z = gaussian.reparameterise(m[None], v[None], torch.cat([eps, -eps])[:, None])
        recon = -model.likelihood.log_prob(x, model.decode(z)).sum((-3, -2, -1)).mean()
        kl = gaussian.kl_to_standard_normal(m[None], v[None]).sum()
        assert stated == pytest.approx(float(recon + kl), rel=1e-5)
    assert best.neg_elbo < best.neg_elbo_before


@pytest.mark.parametrize("max_steps", [1, 2, 60])
def test_what_is_found_is_never_worse_than_the_start(max_steps):
    model, images = digits(12)
    with torch.no_grad():
        mu, logvar = model.encode(images)
    eps = gaussian.draw((8, 2), torch.Generator().manual_seed(6))
    far = torch.tensor([[30.0, -30.0], [0.0, 0.0]])
    starts = [*zip(images, mu, logvar, strict=True), (images[0], far[0], far[1])]
    for x, m, v in starts:
        best = best_gaussian(model, x, m, v, eps, max_steps=max_steps)
        assert best.neg_elbo <= best.neg_elbo_before
        assert torch.isfinite(torch.stack([best.mu, best.logvar])).all()


def test_at_the_best_one_it_stays():
    model = linear_model()
    x, eps = image(model), white_noise(64, 3)
    best = best_gaussian(model, x, *start(3), eps)
    again = best_gaussian(model, x, best.mu, best.logvar, eps)
    assert again.neg_elbo_before == pytest.approx(best.neg_elbo, abs=1e-4)
    assert torch.allclose(again.mu, best.mu, atol=2e-3)
    assert torch.allclose(again.logvar, best.logvar, atol=5e-3)


def test_on_digits_it_beats_the_encoder_on_noise_that_it_has_not_seen():
    model, images = digits(40)
    with torch.no_grad():
        mu, logvar = model.encode(images)
    eps = gaussian.draw((128, 2), torch.Generator().manual_seed(0))
    found = [best_gaussian(model, x, m, v, eps) for x, m, v in zip(images, mu, logvar, strict=True)]
    fresh = gaussian.draw((2000, 2), torch.Generator().manual_seed(7))[:, None]
    gained = []
    with torch.no_grad():
        for x, m, v, best in zip(images, mu, logvar, found, strict=True):
            bounds = [
                -model.likelihood.log_prob(
                    x, model.decode(gaussian.reparameterise(a[None], b[None], fresh))
                )
                .sum((-3, -2, -1))
                .mean()
                + gaussian.kl_to_standard_normal(a[None], b[None]).sum()
                for a, b in ((m, v), (best.mu, best.logvar))
            ]
            gained.append(float(bounds[0] - bounds[1]))
    assert sum(gained) / len(gained) > 0.1  # nats; the amortisation gap of this encoder
    assert min(gained) > -0.5  # 128 draws and their mirror images leave it about that unsure


@pytest.mark.parametrize("learnable", [True, False])
def test_the_models_weights_stay_as_they_are_and_gather_no_gradient(learnable):
    model, images = digits(1)
    model.requires_grad_(learnable)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():  # the caller's own setting neither matters nor changes
        best = best_gaussian(model, images[0], *start(2), white_noise(16, 2))
        assert not torch.is_grad_enabled()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
        assert parameter.requires_grad is learnable
    assert not best.mu.requires_grad
    assert not best.logvar.requires_grad


def test_what_it_was_given_stays_as_it_is():
    model = linear_model()
    given = [image(model), *start(3), white_noise(16, 3)]
    before = [value.clone() for value in given]
    best_gaussian(model, *given)
    assert all(map(torch.equal, given, before))


@pytest.mark.parametrize(
    ("mu", "logvar"), [([torch.nan, 0, 0], [0, 0, 0]), ([0, 0, 0], [0, 500, 0])]
)
def test_a_bound_that_is_not_finite_is_refused(mu, logvar):
    model = linear_model()
    with pytest.raises(ValueError, match="not finite"):
        best_gaussian(
            model,
            image(model),
            torch.tensor(mu, dtype=torch.float32),
            torch.tensor(logvar, dtype=torch.float32),
            white_noise(16, 3),
        )


@pytest.mark.parametrize("n_samples", [1, 7])
def test_any_number_of_draws_will_do(n_samples):
    model = linear_model()
    x, eps = image(model), gaussian.draw((n_samples, 3), torch.Generator().manual_seed(8))
    best = best_gaussian(model, x, *start(3), eps)
    assert best.mu.shape == best.logvar.shape == (3,)
    mean, _ = known_posterior(model, x)
    if n_samples == 7:  # mirrored draws leave the mean of a linear model no error
        assert torch.allclose(best.mu.double(), mean, atol=2e-3)


def test_the_same_question_has_the_same_answer():
    model, images = digits(1)
    answers = [best_gaussian(model, images[0], *start(2), white_noise(16, 2)).mu for _ in range(2)]
    assert torch.equal(*answers)


def test_the_encoders_own_terms_are_where_the_search_begins():
    model, images = digits(1)
    with torch.no_grad():
        mu, logvar = model.encode(images)
    eps = gaussian.draw((64, 2), torch.Generator().manual_seed(9))
    best = best_gaussian(model, images[0], mu[0], logvar[0], eps)
    terms = point_terms(model, images, torch.cat([eps, -eps])[:, None])
    assert best.neg_elbo_before == pytest.approx(float(terms.neg_elbo.detach()), rel=1e-5)


def test_the_best_gaussian_of_probabilistic_pca_is_the_posterior():
    model = ppca(2)
    x = images(model, 1)
    mean, precision = known_posterior(model, x[0])
    best = best_gaussian(model, x[0], *start(2), *gaussian.gauss_hermite(10, 2))
    assert torch.allclose(best.mu.double(), mean, atol=1e-3)
    assert torch.allclose(best.logvar.double(), -precision.diagonal().log(), atol=1e-2)
    found = exact_posterior(model, x, best.mu[None], best.logvar[None])
    assert 0 <= float(found.gap) < 1e-4


def test_of_several_starts_the_best_end_counts():
    model, x = two_peaks(0.1)
    model.decoder.body[2].weight.copy_(torch.tensor([[1.0, 0.5, 0, 0]]))  # the left peak: z1 = -2
    nodes = gaussian.gauss_hermite(12, 2)
    left, right = torch.tensor([-2.0, 0.0]), torch.tensor([1.0, 0.0])
    narrow = torch.tensor([-4.0, 0.0])
    ends = [best_gaussian(model, x[0], m, narrow, *nodes).neg_elbo for m in (left, right)]
    both = best_gaussian(
        model, x[0], torch.stack([left, right]), torch.stack([narrow, narrow]), *nodes
    )
    assert ends[1] < ends[0] - 0.5
    assert both.neg_elbo == pytest.approx(ends[1], abs=1e-4)
    assert both.neg_elbo_before > ends[1]


def test_where_the_objective_is_no_number_the_best_so_far_stands():
    start = torch.ones(2)

    def objective(q: torch.Tensor) -> torch.Tensor:
        # Its slope is finite all the same, as that of a sum with an overflow in it can be.
        return (q**2).sum() / 4 + (0 if torch.equal(q.detach(), start) else torch.nan)

    value, where = lowest(objective, start)
    assert (value, where.tolist()) == (0.5, [1, 1])


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (RuntimeError("value cannot be converted to type float without overflow"), False),
        (RuntimeError("out of memory"), True),
    ],
)
def test_a_step_that_no_float_holds_ends_the_search_and_any_other_fault_is_told(
    error, is_told, monkeypatch
):
    def step(self, closure):
        closure()
        raise error

    monkeypatch.setattr(torch.optim.LBFGS, "step", step)
    if is_told:
        with pytest.raises(RuntimeError, match="out of memory"):
            lowest(lambda q: (q**2).sum(), torch.ones(2))
    else:
        assert lowest(lambda q: (q**2).sum(), torch.ones(2))[0] == 2
