"""Every number of the walk-through is the library's, to the digits shown."""

import math
import re

import pytest
import torch

from vae.core import gaussian
from vae.lessons import gaussian_pair, kl_steps
from vae.lessons.kl_steps import Loss, number

PAIRS = {
    "tilted": gaussian_pair.tilted(2),
    "near-singular": gaussian_pair.near_singular(2),
    "identical": gaussian_pair.identical(2),
    "on a line": gaussian_pair.tilted(1),
    "in eight dimensions": gaussian_pair.tilted(8),
    "against the prior": gaussian_pair.pair(
        [0.3, -1.2], [[0.04, 0], [0, 0.5]], [0, 0], torch.eye(2)
    ),
    "far apart": gaussian_pair.pair([1e4, 0], [[1e-4, 0], [0, 1]], [0, 0], [[1e-4, 0], [0, 1]]),
}
ON_A_LINE = re.compile(r"(-?\d[\d,]*\.\d{3})(?: \\times 10\^\{(-?\d+)\})?")


def shown(text: str) -> list[float]:
    return [
        float(mantissa.replace(",", "")) * 10.0 ** int(power or 0)
        for mantissa, power in ON_A_LINE.findall(text)
    ]


def rounded(*values: torch.Tensor | float) -> list[object]:
    """The values as they can be shown: three decimals, or four digits."""
    return [pytest.approx(float(v), abs=0.000501, rel=0.00051) for v in values]


@pytest.mark.parametrize("name", PAIRS)
def test_every_number_is_the_librarys(name):
    pair = PAIRS[name]
    there, back = gaussian.kl_parts(*pair), gaussian.kl_parts(*pair.swapped)
    sample = gaussian.sample_kl(*pair, 2000, torch.Generator().manual_seed(5))
    steps = kl_steps.steps(pair, 2000, 5)
    first, second = gaussian.log_det(pair.cov1), gaussian.log_det(pair.cov2)
    assert shown(steps[0].numbers[-1]) == rounded(there.kl, back.kl)
    assert shown(steps[1].numbers[0]) == rounded(first, second)
    assert shown(steps[2].numbers[0]) == rounded(second, first, there.log_det_ratio)
    assert shown(steps[3].numbers[0]) == rounded(
        pair.k, sample.quadratic_1, sample.quadratic_1_stderr
    )
    assert shown(steps[4].numbers[0]) == rounded(
        there.trace,
        there.mahalanobis,
        there.trace + there.mahalanobis,
        sample.quadratic_2,
        sample.quadratic_2_stderr,
    )
    four = (there.log_det_ratio, pair.k, there.trace, there.mahalanobis, there.kl)
    assert shown(steps[5].numbers[0]) == rounded(*four, sample.kl, sample.kl_stderr)
    four = (back.log_det_ratio, pair.k, back.trace, back.mahalanobis, back.kl)
    assert shown(steps[6].numbers[0]) == rounded(*four)
    assert shown(steps[6].numbers[1]) == rounded(there.kl - back.kl)


def test_the_special_case_splits_by_dimension_and_enters_the_loss():
    pair = PAIRS["against the prior"]
    step = kl_steps.steps(pair, 100, 0, Loss(12, 80.5, 3.25))[-1]
    each = gaussian.kl_to_standard_normal(pair.mu1[None], pair.cov1.diagonal().log()[None])[0]
    assert shown(step.numbers[0]) == rounded(*each, each.sum())
    assert each.sum() == pytest.approx(float(gaussian.kl_between(*pair)))
    assert shown(step.numbers[1]) == rounded(80.5, 3.25, 83.75)
    assert "point 12" in step.numbers[1]
    assert "only some" in step.text  # 3.25 nats are not this pair's KL
    assert "only some" not in kl_steps.steps(pair, 100, 0, Loss(12, 8, float(each.sum())))[-1].text


@pytest.mark.parametrize("name", ["tilted", "identical", "in eight dimensions"])
def test_a_pair_that_is_no_special_case_is_not_given_numbers(name):
    step = kl_steps.steps(PAIRS[name], 100)[-1]
    assert not step.numbers
    assert "no such case" in step.text


def test_a_pair_on_a_line_against_the_prior_is_one_term():
    pair = gaussian_pair.pair([0.5], [[0.25]], [0], [[1]])
    (numbers,) = kl_steps.steps(pair, 100)[-1].numbers
    assert shown(numbers) == rounded(gaussian.kl_between(*pair))


def test_large_matrices_are_not_written_out():
    assert any("pmatrix" in line for line in kl_steps.steps(PAIRS["tilted"], 100)[0].numbers)
    for k in (4, 8):
        steps = kl_steps.steps(gaussian_pair.tilted(k), 100)
        assert not any("pmatrix" in line for line in steps[0].numbers)


def test_a_matrix_is_written_row_by_row():
    pair = gaussian_pair.pair([1, 2], [[3, 0.5], [0.5, 4]], [0, 0], torch.eye(2))
    line = kl_steps.steps(pair, 100)[0].numbers[0]
    assert r"\Sigma_1 = \begin{pmatrix}3 & 0.5 \\ 0.5 & 4\end{pmatrix}" in line
    assert r"\mu_1 = \begin{pmatrix}1 \\ 2\end{pmatrix}" in line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (-0.0001, "0.000"),
        (9999.9, "9999.900"),
        (12345.678, r"1.235 \times 10^{4}"),
        (-2e30, r"-2.000 \times 10^{30}"),
    ],
)
def test_how_a_number_is_written(value, text):
    assert number(value) == text
    assert number(torch.tensor(value, dtype=torch.float64)) == text


def test_formulas_and_numbers_balance_their_braces():
    for pair in PAIRS.values():
        for step in kl_steps.steps(pair, 100):
            for line in (step.formula, *step.numbers):
                assert line.count("{") == line.count("}")
                assert line.count(r"\left") == line.count(r"\right")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.inf, r"\infty"),
        (-math.inf, r"-\infty"),
        (math.nan, r"\text{not a number}"),
        (3.4e38, r"3.400 \times 10^{38}"),
        (-12345.0, r"-1.234 \times 10^{4}"),
        (-0.0001, "0.000"),
    ],
)
def test_any_number_is_written_as_mathematics(value, text):
    assert number(value) == text
