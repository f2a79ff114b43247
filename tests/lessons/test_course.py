"""The course: every line of the derivation is a step, with the library's or torch's numbers."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vae.data import catalogue
from vae.errors import UserError
from vae.lessons import course, gaussian_pair, latent_space, trials
from vae.lessons.board import Board, board
from vae.lessons.course import LESSONS, QUESTIONS, Place
from vae.lessons.gaussian_pair import Pair
from vae.lessons.glossary import GLOSSARY
from vae.lessons.lesson import PAIR, Lesson, Part, Question
from vae.runs import checkpoint

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
TILTED = gaussian_pair.tilted(2)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


@pytest.fixture(scope="module")
def point() -> Board:
    run = checkpoint.open_run(CHECKPOINTS / "digits-2d")
    embedding = run.load_embedding()
    assert embedding is not None
    return board(run.load_model(), embedding, 100, catalogue.load("digits", "test"))


@pytest.fixture
def subject_of(point) -> Callable[[Lesson], Pair | Board]:
    return lambda lesson: TILTED if lesson.subject == PAIR else point


def numbers(place: str, subject: Pair | Board) -> list[float]:
    """All that a step says in numbers, in order; "lesson/step"."""
    lesson, step = place.split("/")
    lines = LESSONS[lesson].step(step).tell(subject).numbers
    text = re.sub(
        r"_\{?\d\}?|\\text(?:tt)?\{[^}]*\}|\^\{?-?[\dT]\}?|\\tfrac12", " ", "  ".join(lines)
    )
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def says(place: str, subject: Pair | Board, *values: float | torch.Tensor) -> None:
    """The step has these numbers, as written with three decimals."""
    found = numbers(place, subject)
    for value in (float(torch.as_tensor(v).detach()) for v in values):
        near = [n for n in found if math.isclose(n, value, abs_tol=6e-4, rel_tol=6e-4)]
        assert near, (place, value, found)


# --- the table: what the derivation says -> where it is told, and who else knows its numbers ------


def distributions() -> tuple[MultivariateNormal, MultivariateNormal]:
    mu1, cov1, mu2, cov2 = TILTED
    return MultivariateNormal(mu1, cov1), MultivariateNormal(mu2, cov2)


def equation_1(place: str, _: Board) -> None:
    p, q = distributions()
    says(place, TILTED, kl_divergence(p, q), kl_divergence(q, p))


def two_logarithms(place: str, _: Board) -> None:
    says(place, TILTED, TILTED.cov1.logdet(), TILTED.cov2.logdet())


def equation_2(place: str, _: Board) -> None:
    says(place, TILTED, TILTED.cov2.logdet() - TILTED.cov1.logdet())


def one_draw() -> torch.Tensor:
    """x - mu1 of the draw that the steps show."""
    eps = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0)).double()
    return (eps @ torch.linalg.cholesky(TILTED.cov1).mT)[0]


def scalar_is_its_trace(place: str, _: Board) -> None:
    away = one_draw()
    square = away @ torch.linalg.inv(TILTED.cov1) @ away
    says(place, TILTED, square)
    assert numbers(place, TILTED)[-2:] == [pytest.approx(float(square), abs=6e-4)] * 2


def cyclic(place: str, _: Board) -> None:
    away = one_draw()
    product = torch.linalg.inv(TILTED.cov1) @ torch.outer(away, away)
    says(place, TILTED, product.trace(), *(round(float(v), 3) for v in product.flatten()))


def outer_product(place: str, _: Board) -> None:
    found = numbers(place, TILTED)
    assert found[-4:] == [pytest.approx(float(v), abs=1e-3) for v in TILTED.cov1.flatten()]
    assert found[-8:-4] == [pytest.approx(float(v), abs=0.03) for v in TILTED.cov1.flatten()]


def trace_of_identity(place: str, _: Board) -> None:
    says(place, TILTED, torch.eye(2).trace())


def cross_terms(place: str, _: Board) -> None:
    *_, mean, error = numbers(place, TILTED)
    assert abs(mean) < 4 * error
    assert abs(numbers(place, TILTED)[0]) > 10 * error  # one draw's is not zero


def trace_of_both(place: str, _: Board) -> None:
    says(place, TILTED, (TILTED.cov1 @ torch.linalg.inv(TILTED.cov2)).trace())


def mahalanobis(place: str, _: Board) -> None:
    away = TILTED.mu1 - TILTED.mu2
    says(place, TILTED, away @ torch.linalg.inv(TILTED.cov2) @ away)


def equation_4(place: str, _: Board) -> None:
    inverse, away = torch.linalg.inv(TILTED.cov2), TILTED.mu1 - TILTED.mu2
    says(place, TILTED, (TILTED.cov1 @ inverse).trace() + away @ inverse @ away)


def equation_5(place: str, _: Board) -> None:
    says(place, TILTED, kl_divergence(*distributions()))


def the_other_way(place: str, _: Board) -> None:
    p, q = distributions()
    says(place, TILTED, kl_divergence(q, p), kl_divergence(p, q) - kl_divergence(q, p))


def equation_6_of_the_pair(place: str, _: Board) -> None:
    sigma = TILTED.cov1.diagonal().sqrt()
    each = kl_divergence(Normal(TILTED.mu1, sigma), Normal(torch.zeros(2), torch.ones(2)))
    says(place, TILTED, *each, each.sum())


def equation_6_of_the_point(place: str, point: Board) -> None:
    each = kl_divergence(Normal(point.mu, point.sigma), Normal(torch.zeros(2), torch.ones(2)))
    says(place, point, *each, each.sum())


def loss(place: str, point: Board) -> None:
    recon, kl = (float(v[point.index]) for v in (point.embedding.recon, point.embedding.kl))
    says(place, point, recon, kl, recon + kl)


def architecture(place: str, point: Board) -> None:
    model, config = point.model, point.model.config
    weights = [sum(p.numel() for p in net.parameters()) for net in (model.encoder, model.decoder)]
    found = [int(n) for n in numbers(place, point)]
    widths = [64, *config.hidden, 2, *reversed(config.hidden), 64]
    assert found == [*widths, *weights]
    shapes = [p.shape for p in model.encoder.parameters() if p.ndim == 2]
    assert shapes[0][1] == widths[0]
    assert [s[0] for s in shapes[: len(config.hidden)]] == [*config.hidden]


def encoder(place: str, point: Board) -> None:
    with torch.no_grad():
        mu, logvar = point.model.encode(point.image[None])
    says(place, point, *mu[0], *(logvar[0] / 2).exp())


def draw(place: str, point: Board) -> None:
    q = Normal(point.mu, point.sigma)
    says(place, point, *q.icdf(Normal(0.0, 1.0).cdf(point.eps)))


def bayes(place: str, point: Board) -> None:
    z, found = point.inference.mu, point.inference
    prior = MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob(z)
    image = torch.distributions.Bernoulli(logits=point.model.decode(z))
    likelihood = (
        point.image * image.logits - torch.nn.functional.softplus(image.logits)
    ).sum()  # grey pixels are no draws
    says(place, point, likelihood, prior, likelihood + prior - found.log_px, found.log_px)


def without_z(place: str, point: Board) -> None:
    ends = numbers(place, point)
    log_px = point.inference.log_px
    assert sum(math.isclose(n, log_px, abs_tol=6e-4) for n in ends) == 3


def equation_8(place: str, point: Board) -> None:
    found = point.inference
    says(place, point, found.log_px, -float(found.recon.mean[-1]), found.kl, found.gap)
    left_over = found.log_px + float(found.recon.mean[-1]) + found.kl - found.gap
    assert abs(left_over) < 4 * found.elbo_stderr


def the_bound(place: str, point: Board) -> None:
    found = point.inference
    says(place, point, found.elbo, found.log_px, found.gap)
    assert found.elbo < found.log_px


def closing_the_gap(place: str, point: Board) -> None:
    says(place, point, point.inference.gap, point.gap_split.approximation)
    assert point.gap_split.approximation <= point.inference.gap


def reparameterised(place: str, point: Board) -> None:
    says(place, point, point.mu[0], point.sigma[0], point.eps[0])
    mu, sigma = point.mu.clone().requires_grad_(), point.sigma.clone().requires_grad_()
    z = mu + point.eps * sigma
    by_mu, by_sigma = torch.autograd.grad(z[0], (mu, sigma))
    says(place, point, z[0], by_mu[0], by_sigma[0])


def mean_over_draws(place: str, point: Board) -> None:
    running = point.inference.recon
    says(place, point, running.values[:16].mean(), running.values.mean())


def autograd_by(network: torch.nn.Module, name: str, point: Board) -> float:
    """Of the mean loss over the same draws, in the plainest way."""
    model, eps = point.model, point._noise(1000)
    tensor, _, place = name.rstrip("]").partition("[")
    mu, logvar = model.encode(point.image[None])
    raw = model.decode(mu + eps * (logvar / 2).exp())
    recon = torch.nn.functional.binary_cross_entropy_with_logits(
        raw, point.image.expand_as(raw), reduction="none"
    )
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    kl = kl_divergence(Normal(mu, (logvar / 2).exp()), prior)
    total = recon.flatten(1).sum(1).mean() + kl.sum()
    (gradient,) = torch.autograd.grad(total, network.get_parameter(tensor))
    return float(gradient[tuple(int(i) for i in place.split(", "))])


def slope_of_theta(place: str, point: Board) -> None:
    truth = autograd_by(point.model.decoder, point.slopes.theta_name, point)
    assert [n for n in numbers(place, point) if math.isclose(n, truth, abs_tol=2e-3)][1:]


def slope_of_phi(place: str, point: Board) -> None:
    truth = autograd_by(point.model.encoder, point.slopes.phi_name, point)
    assert [n for n in numbers(place, point) if math.isclose(n, truth, abs_tol=2e-3)][1:]


def score_function(place: str, point: Board) -> None:
    path, score = point.slopes.phi, point.slopes.phi_score
    says(place, point, path.mean(), score.mean(), score.var() / path.var())


TABLE = {
    "equation (1): what the KL is": ("closed-form/question", equation_1),
    "the logarithms of two normals": ("closed-form/densities", two_logarithms),
    "equation (2): the expectation form": ("closed-form/expectations", equation_2),
    "a scalar is its trace": ("closed-form/scalar", scalar_is_its_trace),
    "the cyclic property": ("closed-form/cyclic", cyclic),
    "E of the outer product is the covariance": ("closed-form/outer", outer_product),
    "equation (3): tr(I) = k": ("closed-form/identity", trace_of_identity),
    "the two cross terms vanish": ("closed-form/cross", cross_terms),
    "the trace of both covariances": ("closed-form/trace", trace_of_both),
    "the Mahalanobis term": ("closed-form/mahalanobis", mahalanobis),
    "equation (4)": ("closed-form/second", equation_4),
    "equation (5)": ("closed-form/together", equation_5),
    "it is not symmetric": ("closed-form/other-way", the_other_way),
    "equation (6), of a pair": ("closed-form/diagonal", equation_6_of_the_pair),
    "equation (6), of a point": ("price/kl", equation_6_of_the_point),
    "equation (6), in the bound": ("bound/closed-form", equation_6_of_the_point),
    "the loss": ("price/sum", loss),
    "the architecture": ("autoencoder/architecture", architecture),
    "the encoder's answer": ("autoencoder/encode", encoder),
    "a draw": ("autoencoder/sample", draw),
    "Bayes": ("bound/bayes", bayes),
    "the term that does not depend on z": ("bound/constant", without_z),
    "equation (8)": ("bound/average", equation_8),
    "the bound": ("bound/bound", the_bound),
    "a smaller loss closes the gap": ("bound/closing", closing_the_gap),
    "equation (7): the graph, reparameterised": ("reparameterisation/after", reparameterised),
    "equation (7): the mean over L": ("reparameterisation/mean", mean_over_draws),
    "the gradient with respect to theta": ("reparameterisation/theta", slope_of_theta),
    "the gradient with respect to phi": ("reparameterisation/phi", slope_of_phi),
    "pathwise against score function": ("reparameterisation/score", score_function),
}


@pytest.mark.parametrize("what", TABLE)
def test_the_step_says_what_others_compute(what, point):
    place, check = TABLE[what]
    check(place, point)


# --- what each lesson has -------------------------------------------------------------------------


def test_there_are_eight_lessons_in_the_order_of_the_course():
    assert list(LESSONS) == [
        *("latent-space", "autoencoder", "price", "closed-form", "bound", "reparameterisation"),
        *("collapse", "misses"),
    ]


@pytest.mark.parametrize("key", LESSONS)
def test_a_lesson_has_all_that_a_class_hour_needs(key):
    lesson = LESSONS[key]
    assert len(lesson.questions) == 3
    assert len(lesson.teacher) == 10
    assert 30 <= lesson.minutes <= 60
    assert [step for step in lesson.steps if step.predict]
    assert [step for step in lesson.steps if step.do]
    assert {step.part for step in lesson.steps} <= set(Part.ALL)
    assert len(lesson.by_key) == len(lesson.steps)
    assert lesson.beside in lesson.by_key


def test_the_glossary_says_which_note_swaps_theta_and_phi():
    for name, network in (("φ", "encoder"), ("θ", "decoder")):
        assert "swaps" in GLOSSARY[name].sentence
        assert network in GLOSSARY[name].sentence


def wrong(question: Question, subject: Pair | Board) -> float | str:
    answer = question.answer(subject)
    if isinstance(answer, str):
        return next(choice for choice in question.choices if choice != answer)
    return 2 * answer + 10


@pytest.mark.parametrize("key", LESSONS)
def test_a_right_and_a_wrong_answer_are_told_apart_with_the_number(key, subject_of):
    lesson = LESSONS[key]
    subject = subject_of(lesson)
    asked = [*lesson.questions, *(step.predict for step in lesson.steps if step.predict)]
    for question in asked:
        answer = question.answer(subject)
        if isinstance(answer, str):
            assert answer in question.choices
        else:
            assert math.isfinite(answer)
        assert question.judge(subject, answer).is_right
        verdict = question.judge(subject, wrong(question, subject))
        assert not verdict.is_right
        assert question.said(answer) in verdict.sentence
        assert verdict.sentence.rstrip().endswith(".")


def test_another_pair_or_point_has_other_right_answers(point):
    value = LESSONS["closed-form"].questions[0]
    assert not value.judge(TILTED.swapped, value.answer(TILTED)).is_right
    other = board(point.model, point.embedding, 7, None)
    for lesson, key in (("price", 0), ("autoencoder", 0), ("reparameterisation", 0)):
        question = LESSONS[lesson].questions[key]
        assert not question.judge(other, question.answer(point)).is_right


def test_what_needs_the_image_says_so_where_it_is_not_at_hand(point):
    without = board(point.model, point.embedding, 7, None)
    with pytest.raises(UserError, match="image of this point is not at hand"):
        LESSONS["bound"].step("bayes").tell(without)


# --- the first lesson -----------------------------------------------------------------------------

JARGON = {
    *("encoder", "decoder", "latent space", "manifold", "prior", "posterior", "nats", "nat", "KL"),
    *("recon", "ELBO", "μ", "σ", "ε", "θ", "φ", "β", "Gaussian", "sample", "likelihood", "model"),
    *(
        "network",
        "train",
        "trained",
        "training",
        "probability",
        "expectation",
        "variance",
        "vector",
    ),
    *("dimension", "dimensions", "pixel", "pixels", "parameter", "distribution", "z", "x", "q"),
}


def test_the_first_lesson_uses_no_word_before_it_is_explained():
    """A word is explained where it first stands in bold."""
    explained: set[str] = set()
    too_early = []
    for step in latent_space.LESSON.steps:
        parts = [step.title, step.text, step.predict.text if step.predict else "", step.do]
        for sentence in re.split(r"(?<=[.?:])\s+", " ".join(parts)):
            explained |= set(re.findall(r"\*\*(.+?)\*\*", sentence))
            known = {word.lower() for word in explained}
            used = {w for w in JARGON if re.search(rf"(?<!\w){re.escape(w)}(?!\w)", sentence, re.I)}
            too_early += [(step.key, w) for w in used if w.lower() not in known]
    assert too_early == []
    assert explained == {"encoder", "decoder", "latent space", "manifold", "x", "z"}


def test_the_questions_of_the_first_lesson_use_no_other_words(point):
    known = {"encoder", "decoder", "latent space", "manifold", "x", "z"}
    lesson = latent_space.LESSON
    texts = [q.text for q in lesson.questions]
    texts += [q.judge(point, q.answer(point)).sentence for q in lesson.questions]
    for text in texts:
        used = {w for w in JARGON if re.search(rf"(?<!\w){re.escape(w)}(?!\w)", text, re.I)}
        assert used <= known, text


def test_the_agreement_of_neighbours_is_scikit_learns(point):
    from sklearn.neighbors import NearestNeighbors

    mu, labels = point.embedding.mu, point.embedding.labels
    _, found = NearestNeighbors(n_neighbors=2).fit(mu).kneighbors(mu)
    expected = 100 * (labels[found[:, 1]] == labels).mean()
    assert latent_space.agreement(point) == pytest.approx(expected, abs=0.5)
    _, (own,) = NearestNeighbors(n_neighbors=2).fit(mu).kneighbors(mu[[100]])
    assert latent_space.nearest(point) == own[1]


# --- collapse -------------------------------------------------------------------------------------


def test_a_large_beta_breaks_the_small_model_and_free_bits_mend_it():
    broken, mended = trials.trial(8.0, 0.0), trials.trial(8.0, 0.5)
    assert trials.trial(1.0, 0.0).kl > 1
    assert broken.is_collapsed
    assert broken.kl < 0.01
    assert not mended.is_collapsed
    assert mended.recon < broken.recon - 1
    assert trials.trial(8.0, 0.0) is broken  # trained once


# --- links ----------------------------------------------------------------------------------------


def test_a_link_that_asks_for_what_there_is_not_gets_the_nearest_and_a_sentence():
    assert course.find("closed-form", "cyclic") == (Place("closed-form", "cyclic"), "")
    assert course.find("")[0] == Place("latent-space", "picture")
    place, said = course.find("closed-form", "cyclc")
    assert place == Place("closed-form", "cyclic")
    assert said == "This lesson has no step 'cyclc'; this is 'A trace may be read in a circle'."
    place, said = course.find("close-form", "cyclic")
    assert place == Place("closed-form", "cyclic")
    assert said == "There is no lesson 'close-form'; this is 'Closed form'."
    assert course.find("?!", "x" * 1000)[0] == Place("latent-space", "picture")
    assert course.find("price", QUESTIONS) == (Place("price", QUESTIONS), "")


def test_asking_the_library_for_what_there_is_not_names_what_there_is(point):
    with pytest.raises(UserError, match="no lesson 'closed'; the lessons are latent-space, auto"):
        course.lesson("closed")
    with pytest.raises(UserError, match="'price' has no step 'tip'; its steps are recon, kl"):
        LESSONS["price"].step("tip")
    with pytest.raises(UserError, match=r"the point \(=359\) must be from 0 to 358"):
        board(point.model, point.embedding, 359, None)
