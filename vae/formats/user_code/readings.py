"""A person's own model read otherwise: other pixels in, another second head, another output.

Its code says what encode and decode return, not what that means; so each meaning is a `Fact`, and
`Read` is the same object with other ones.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vae.errors import UserError
from vae.formats.card import CHOSEN, FILE, Fact
from vae.formats.meanings import SECOND as MEANINGS
from vae.formats.meanings import STATISTICS, log_variance
from vae.formats.user_code.checks import attribute
from vae.formats.user_code.wrapped import as_tensor, modules_of
from vae.formats.wording import printable

INPUT, SECOND, OUTPUT = "input", "second head", "output"
UNIT = "[0, 1]"
SIGMOID, TANH, LINEAR, LOGITS = "sigmoid", "tanh", "linear", "logits: sigmoid in the loss"


class Read:
    """An object with encode and decode, whose numbers are taken as `values` say.

    Args:
        given: the object; encode gives a pair.
        values: of the facts by name; what is not among them is taken as it comes.
    """

    def __init__(self, given: Any, values: Mapping[str, str]) -> None:
        self.given, self.values = given, dict(values)
        self.parts = modules_of(given)
        self.image_shape = attribute(given, "image_shape")
        self.n_classes = attribute(given, "n_classes")
        self.likelihood, self.logvar_x = attribute(given, "likelihood"), None
        output = values.get(OUTPUT)
        if output is None:
            self.logvar_x = attribute(given, "logvar_x")
        elif output in (TANH, LINEAR):
            self.likelihood = "gaussian"
            self.logvar_x = math.log(0.25) if output == TANH else attribute(given, "logvar_x")
        elif output in (SIGMOID, LOGITS):
            self.likelihood = None

    def encode(self, x: Tensor, *label: Tensor) -> Any:
        """As the object's."""
        mean, std = STATISTICS[self.values.get(INPUT, UNIT)]
        result = self.given.encode(x if std == 1 else (x - mean) / std, *label)
        meaning = self.values.get(SECOND, MEANINGS[0])
        if meaning == MEANINGS[0] or not isinstance(result, tuple | list) or len(result) != 2:
            return result
        return result[0], log_variance(as_tensor(result[1]), meaning)

    def decode(self, z: Tensor, *label: Tensor) -> Any:
        """As the object's, brought to pixels."""
        out = self.given.decode(z, *label)
        output = self.values.get(OUTPUT)
        if output == TANH:
            return (as_tensor(out) + 1) / 2
        if output == LOGITS:
            return torch.sigmoid(as_tensor(out))
        if output == SIGMOID:
            values = as_tensor(out)
            inside = bool((values >= 0).all() and (values <= 1).all())
            return out if inside else values.clamp(1e-4, 1 - 1e-4)
        return out


def facts_of(
    likelihood: str, low: float, high: float, is_mean: bool, meaning: str, chosen: Mapping[str, str]
) -> tuple[Fact, ...]:
    """What could be otherwise of an object as it was taken.

    Args:
        likelihood: that was taken.
        low, high: of the numbers that decode gives by itself.
        is_mean: they were taken as pixels.
        meaning: of the second head, as the code has it.
        chosen: what a person chose, by the fact's name.
    """
    within = low >= -1.001 and high <= 1.001
    bernoulli = SIGMOID if is_mean else LOGITS
    output = LINEAR if likelihood == "gaussian" else bernoulli
    others = [TANH] if within and low < 0 else []
    others += [] if low >= 0 and high <= 1 else [LOGITS]
    others += [LINEAR, *([SIGMOID] if low > -0.5 and high < 1.5 else [])]
    taken = {INPUT: UNIT, SECOND: meaning, OUTPUT: output}
    values = {INPUT: tuple(STATISTICS), SECOND: MEANINGS, OUTPUT: tuple(others)}
    found = []
    for name, default in taken.items():
        every = (default, *(value for value in values[name] if value != default))
        value = chosen.get(name, default)
        if value not in every:
            raise UserError(
                f"the reading {name} (={printable(value)!r}) must be one of: {', '.join(every)}"
            )
        found.append(Fact(name, value, CHOSEN if name in chosen else FILE, every))
    if unknown := set(chosen) - set(taken):
        raise UserError(
            f"there is no fact named {printable(min(unknown))!r} of this model; "
            f"it has {', '.join(taken)}"
        )
    return tuple(found)
