"""The label that a model with a condition is given: each point's own, or one class for all."""

import torch
from torch import Tensor

from vae.core.model import VAE
from vae.data.dataset import Dataset
from vae.errors import UserError

OWN_LABEL = "own label"
Condition = int | str  # a class of the model, or OWN_LABEL


def labels_for(model: VAE, dataset: Dataset, condition: Condition = OWN_LABEL) -> Tensor:
    """What to give the model for each point of the data (`VAE.given`).

    Args:
        model: the VAE; without a condition the labels mean nothing to it.
        dataset: the points.
        condition: OWN_LABEL, or a class for all.

    Returns:
        int64, shape (N,).

    Raises:
        UserError: the data have no label that the model could be given, or it has no such class.
    """
    n = model.config.n_classes
    if not n or condition == OWN_LABEL:
        if n:
            _check_own(n, dataset)
        return dataset.labels
    if not isinstance(condition, int) or not 0 <= condition < n:
        raise UserError(
            f"condition (={condition!r}) must be {OWN_LABEL!r} or a class from 0 to {n - 1}"
        )
    return torch.full((len(dataset),), condition, dtype=torch.int64)


def given_label(model: VAE, dataset: Dataset, index: int, condition: Condition = OWN_LABEL) -> VAE:
    """The model as it is for one point: under the point's own label, or the class for all.

    Raises:
        UserError: as `labels_for`.
    """
    if not model.config.n_classes:
        return model
    return model.given(int(labels_for(model, dataset, condition)[index]))


def by_class(model: VAE, labels: Tensor, rows: Tensor) -> list[tuple[VAE, Tensor]]:
    """The model given each of the labels that some of the rows have, and those rows in order.

    For what decodes a latent point once for all images: that can be done only under one label. A
    model without a condition comes back with all rows, be there any or none.

    Args:
        model: the VAE.
        labels: of all points, from `labels_for`, shape (N,).
        rows: of some of them, shape (n,).
    """
    if not model.config.n_classes:
        return [(model, rows)]
    of_rows = labels[rows]
    return [(model.given(int(c)), rows[of_rows == c]) for c in of_rows.unique()]


def said(condition: Condition, class_names: tuple[str, ...]) -> str:
    """The condition in words, behind "given": "each point's own label", "class 3"."""
    if condition == OWN_LABEL:
        return "each point's own label"
    return f"class {name_of(int(condition), class_names)}"


def name_of(label: int, class_names: tuple[str, ...]) -> str:
    """A class's name; its number where the data have no name for it."""
    return class_names[label] if label < len(class_names) else str(label)


def chosen_class(model: VAE, dataset: Dataset, text: str) -> int:
    """The class that a person means: one of the data's names, or a number from 0.

    Raises:
        UserError: the model has no condition, or no such class.
    """
    n = model.config.n_classes
    if not n:
        raise UserError(f"the model has no condition, so it cannot be given the class {text!r}")
    named = dict(zip(dataset.class_names[:n], range(n), strict=False))
    found = named.get(text, int(text) if text.isdecimal() and len(text) < 10 else n)
    if found >= n:
        names = ", ".join(list(named)[:12]) + (", ..." if len(named) > 12 else "")
        raise UserError(
            f"condition (={text[:40]!r}) must be a class of {dataset.name or 'the data'} ({names}) "
            f"or its number, from 0 to {n - 1}"
        )
    return found


def _check_own(n: int, dataset: Dataset) -> None:
    n_own = len(dataset.class_names)
    if n_own < 2:
        raise UserError(
            f"the model is conditional on a label of {n} classes, and {dataset.name or 'the data'} "
            f"have no labels; give one class to all points (a number from 0 to {n - 1}), or take "
            "data with labels"
        )
    if len(dataset) and int(dataset.labels.max()) >= n:
        raise UserError(
            f"the model is conditional on a label of {n} classes, and {dataset.name or 'the data'} "
            f"have {n_own}; give one class to all points (a number from 0 to {n - 1})"
        )
