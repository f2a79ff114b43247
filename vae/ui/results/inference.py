"""What the Inference page computes for a point, once for all visitors, with progress."""

from collections.abc import Hashable

import numpy as np
import torch

from vae.core.gaussian import noise_of_points
from vae.data.dataset import to_unit
from vae.errors import UserError
from vae.figures.inference import Window, window
from vae.inference import annealing, estimators, gap
from vae.inference import slopes as weights
from vae.inference.annealing import Annealed
from vae.inference.density import Lattice, density_on_grid
from vae.inference.estimators import GradientEstimates, Running
from vae.inference.evidence import offers_exact
from vae.inference.gap import GapSplit, Inference
from vae.inference.slopes import Slopes
from vae.ui.results import waiting
from vae.ui.results.lines import BESIDE
from vae.ui.results.store import RESULTS
from vae.ui.results.task import CANCELLED, FAILED, Progress
from vae.ui.view import View

CELLS = 200  # of the picture of p(z|x), along each dimension
_CELLS_OF_LINE = 2000


def of_point(view: View, index: int) -> Inference:
    """Equation (8) for the point and the encoder's q. Raises UserError."""

    def compute(progress: Progress) -> Inference:
        progress(0, 1, "Decoding the lattice")
        found = gap.infer(
            view.given(index),
            image(view, index),
            index,
            lattice=lattice(view, index),
            progress=lambda share, what: progress(share, 1, what),
        )
        RESULTS.weigh(_lattice_key(view, index))  # it grows by being used
        return found

    return waiting.result((view.key, "inference", index), compute, "Inferring")


def known_split(view: View, index: int) -> GapSplit | None:
    """The gap in two, if it has been computed."""
    return RESULTS.get(_split_key(view, index))


def split(view: View, index: int, found: Inference) -> GapSplit:
    """The gap in two; takes seconds. Raises UserError."""
    return waiting.result(
        _split_key(view, index),
        lambda progress: gap.split_gap(
            view.given(index), image(view, index), index, found, lattice(view, index)
        ),
        f"Searching the best Gaussian for this {view.words.point}",
        line=BESIDE,
    )


def density(
    view: View, index: int, found: Inference, best: GapSplit | None
) -> tuple[np.ndarray, Window]:
    """log p(z|x) in the cells of a window that holds q, the posterior and the best Gaussian."""
    exact = found.exact
    assert exact is not None
    sds = exact.cov[0].diagonal().clamp_min(0).sqrt()
    gaussians = [(found.mu, found.logvar)]
    if best is not None:
        gaussians.append((best.best.mu, best.best.logvar))
    centres = [*(mu for mu, _ in gaussians), exact.mean[0], exact.mode[0]]
    reach = [*(3.2 * torch.exp(v / 2) for _, v in gaussians), 4 * sds, 0 * sds]
    shown = window(*(np.stack([np.asarray(t, np.float64) for t in ts]) for ts in (centres, reach)))

    def compute(progress: Progress) -> np.ndarray:
        low, high = (torch.from_numpy(side).float() for side in shown)
        n = CELLS if len(found.mu) == 2 else _CELLS_OF_LINE
        return density_on_grid(
            view.given(index), image(view, index), found.log_px, low, high, n
        ).numpy()

    key = view.key, "density", index, best is not None
    return waiting.result(key, compute, "Drawing p(z|x)"), shown


def annealed(view: View, index: int, compute_it: bool) -> Annealed | None:
    """log p(x) by annealing; None if nobody has asked for it. Raises UserError."""
    key = view.key, "annealed", index
    task = RESULTS.task(key)
    if task is None or task.state in (FAILED, CANCELLED):
        if not compute_it:
            return None
        RESULTS.forget(key)  # else it would be said again that it was cancelled

    def compute(progress: Progress) -> Annealed:
        generator = torch.Generator().manual_seed(index)
        return annealing.annealed_log_px(
            view.given(index), image(view, index)[None], generator, progress=progress
        )

    return waiting.result(key, compute, "Annealing", unit="temperatures", line=BESIDE)


def running(view: View, index: int, found: Inference, n: int, seed: int) -> tuple[Running, Running]:
    """recon and KL as n draws arrive. Raises UserError."""

    def compute(progress: Progress) -> tuple[Running, Running]:
        eps = noise(index, found, n, seed)
        q = found.mu, found.logvar
        recon = estimators.running_recon(view.given(index), image(view, index), *q, eps)
        return recon, estimators.running_kl(*q, eps)

    return waiting.result((view.key, "running", index, n, seed), compute, "Drawing samples")


def gradients(view: View, index: int, found: Inference, n: int, seed: int) -> GradientEstimates:
    """The estimators of the gradient over n draws. Raises UserError."""

    def compute(progress: Progress) -> GradientEstimates:
        eps = noise(index, found, n, seed)
        return estimators.gradient_estimates(
            view.given(index), image(view, index), found.mu, found.logvar, eps
        )

    return waiting.result((view.key, "gradients", index, n, seed), compute, "Drawing gradients")


def slopes(view: View, index: int, n: int) -> Slopes:
    """The gradients of one weight of each network over n draws. Raises UserError."""
    if not view.has_encoder:
        raise UserError(f"{view.run.name} has no encoder, so there is no weight of it to look at")

    def compute(progress: Progress) -> Slopes:
        eps = noise_of_points([index], n, view.embedding.latent_dim, 0)[:, 0]
        return weights.slopes(view.given(index), image(view, index), eps)

    return waiting.result((view.key, "slopes", index, n), compute, "Drawing gradients")


def noise(index: int, found: Inference, n: int, seed: int) -> torch.Tensor:
    """The draws' noise, (n, D): with seed 0 the first are those behind the stored terms."""
    return noise_of_points([index], n, len(found.mu), seed)[:, 0]


def image(view: View, index: int) -> torch.Tensor:
    """(C, H, W) in [0, 1]; the images must be at hand."""
    assert view.images is not None
    return to_unit(view.images.images[index])


def lattice(view: View, index: int) -> Lattice | None:
    """The decoded latent plane, for all points together; None for too many dimensions."""
    if not offers_exact(view.model):
        return None
    return RESULTS.make(_lattice_key(view, index), lambda: Lattice(view.given(index)))


def _lattice_key(view: View, index: int) -> Hashable:
    return "lattice", view.weights, view.label_of(index)


def _split_key(view: View, index: int) -> Hashable:
    return view.key, "split", index
