"""What a person's object offers: encode and decode, or forward alone; with a label, or without."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vae.formats.meanings import SECOND as MEANINGS
from vae.formats.user_code.checks import attribute
from vae.formats.user_code.factory import RAISED
from vae.formats.user_code.forward import Traced
from vae.formats.user_code.wrapped import modules_of

ONE_HOT, NUMBER, COLUMN = "one-hot", "numbers", "one column"
_USUAL_CLASSES = 10
_N_CLASSES = (_USUAL_CLASSES, *range(2, 10), *range(11, 31), 36, 40, 47, 62, 100)


class Conditional:
    """An object whose encode and decode take a label besides, in one form for all.

    Args:
        given: the object, with encode(x, y) and decode(z, y), or encode(x) and decode(z, y).
        n_classes: of the label.
        form: ONE_HOT (B, n_classes), NUMBER (B,) int64 or COLUMN (B, 1) of floats.
        in_encoder: whether encode takes it.
    """

    def __init__(self, given: Any, n_classes: int, form: str, in_encoder: bool) -> None:
        self.given, self.n_classes, self.form = given, n_classes, form
        self.in_encoder = in_encoder
        self.parts = modules_of(given)
        self.image_shape = attribute(given, "image_shape")
        self.likelihood = attribute(given, "likelihood")
        self.logvar_x = attribute(given, "logvar_x")

    def encode(self, x: Tensor, c: Tensor | None = None) -> Any:
        """For c one-hot (B, n_classes); of the first class without one."""
        return self.given.encode(x, *([self._label(x, c)] if self.in_encoder else []))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Any:
        """As `encode`."""
        return self.given.decode(z, self._label(z, c))

    def _label(self, beside: Tensor, c: Tensor | None) -> Tensor:
        if c is None:
            c = torch.zeros(len(beside), self.n_classes, device=beside.device)
            c[:, 0] = 1
        c = c.to(beside)
        if self.form == ONE_HOT:
            return c
        numbers = c.argmax(1)
        return numbers if self.form == NUMBER else numbers[:, None].to(beside)


def interfaces(given: Any) -> Iterator[Any]:
    """The object as one with encode and decode, in the ways that may be meant, the likeliest first.

    Nothing where it has neither those two nor a forward.
    """
    has_both = all(callable(attribute(given, name)) for name in ("encode", "decode"))
    if has_both:
        with_label = _takes_label(given.decode)
        yield from _labelled(given, _takes_label(given.encode)) if with_label else [given]
    if isinstance(given, nn.Module) and has_forward(given):
        traced = Traced(given)
        yield from _labelled(traced, True) if _takes_label(given.forward) else [traced]


def has_forward(given: Any) -> bool:
    """Whether a module's class says what it computes."""
    return isinstance(given, nn.Module) and type(given).forward is not nn.Module.forward


def meaning_of(given: Any, x: Tensor) -> str:
    """Of the second head, by what the code makes of it in forward; else as it is usual.

    Args:
        given: one of `interfaces`, after encode was called.
        x: a batch as the object reads it.
    """
    inner = given.given if isinstance(given, Conditional) else given
    if isinstance(inner, Traced):
        return inner.meaning or MEANINGS[0]
    if not has_forward(inner) or isinstance(given, Conditional):
        return MEANINGS[0]
    traced = Traced(inner)
    try:
        with torch.no_grad():
            mu, h = traced.encode(x)
            ours = inner.encode(x)
            same = isinstance(ours, tuple | list) and len(ours) == 2
            same = same and all(
                torch.allclose(a, b.flatten(1), rtol=1e-3, atol=1e-4)
                for a, b in zip((mu, h), ours, strict=True)
            )
    except RAISED:
        return MEANINGS[0]
    return (traced.meaning if same else None) or MEANINGS[0]


def _labelled(given: Any, in_encoder: bool) -> Iterator[Conditional]:
    inner = given.module if isinstance(given, Traced) else given
    said = [attribute(inner, name) for name in ("n_classes", "num_classes", "n_class")]
    known = [n for n in said if isinstance(n, int) and n > 0][:1]
    embeddings = [
        part.num_embeddings
        for module in modules_of(inner)
        for part in module.modules()
        if isinstance(part, nn.Embedding)
    ]
    usual = known or embeddings[:1] or [_USUAL_CLASSES]
    for n in usual:
        for form in (NUMBER, ONE_HOT) if embeddings else (ONE_HOT, NUMBER):
            yield Conditional(given, n, form, in_encoder)
    if not known:
        for n in _N_CLASSES:
            yield Conditional(given, n, ONE_HOT, in_encoder)
    yield Conditional(given, usual[0], COLUMN, in_encoder)


def _takes_label(call: Callable[..., Any]) -> bool:
    """Whether it must be given two things."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) == 2
