"""What the numbers of a model mean where neither its file nor its code says so."""

import torch
import torch.nn.functional as F
from torch import Tensor

# What a second head gives, the likeliest first.
SECOND = (
    *("log variance", "log sigma", "sigma", "sigma by softplus", "variance by softplus"),
    "variance",
)
# Pixels as a model reads them: (x - mean) / std, by the name of the range.
STATISTICS = {
    "[0, 1]": (0.0, 1.0),
    "[-1, 1]": (0.5, 0.5),
    "[-0.5, 0.5]": (0.5, 1.0),
    "mean 0.1307, std 0.3081": (0.1307, 0.3081),  # of MNIST
    "mean 0.286, std 0.353": (0.2860, 0.3530),  # of Fashion-MNIST
}
_TINY = 1e-12


def log_variance(out: Tensor, meaning: str) -> Tensor:
    """What a second head gives, as log variance, of any shape; sigma may be negative.

    Args:
        out: as the head gives it.
        meaning: one of SECOND.
    """
    if meaning == "log variance":
        return out
    if meaning == "log sigma":
        return 2 * out
    if meaning.endswith("by softplus"):
        out = F.softplus(out)
    variance = out if meaning.startswith("variance") else out * out
    return torch.log(variance.clamp(min=_TINY))
