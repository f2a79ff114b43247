import pytest
import torch
from torch import nn

from vae.bench import train as bench
from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data import catalogue

SMALL = ModelConfig((1, 8, 8), latent_dim=3, hidden=(16,), activation="relu")


def digits() -> torch.Tensor:
    return catalogue.load("digits", "train").images[:200]


def test_the_textbooks_network_and_ours_have_the_same_layers():
    ours = VAE(bench.TEXTBOOK)
    theirs = bench.TextbookVAE(28 * 28, 400, 20)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    # 784-400, two of 400-20, 20-400 and 400-784, each with its biases.
    assert ours.n_parameters == 314_000 + 2 * 8_020 + 8_400 + 314_384


def test_every_contender_of_an_mlp_gets_a_row_with_the_named_columns():
    images = digits()
    labels = torch.zeros(len(images))
    dataset = torch.utils.data.TensorDataset(catalogue.to_unit(images), labels)
    contenders = {
        "ours, float32": bench.ours(SMALL, images, 32),
        "textbook": bench.textbook(SMALL, dataset, 32),
        "products alone": bench.products(SMALL, 32),
    }
    rows = list(bench._rows("small", 32, contenders, seconds=0))
    assert [row["loop"] for row in rows] == list(contenders)
    for row in rows:
        assert list(row) == list(bench._COLUMNS)
        assert row["images_per_s"] > 0
        assert row["ms_per_step"] == pytest.approx(32_000 / row["images_per_s"])
    assert rows[1]["times_textbook"] == rows[2]["times_products"] == 1


def test_without_a_textbook_or_products_there_are_no_ratios():
    (row,) = bench._rows("a", 1, {"ours": lambda: 2.0}, seconds=0)
    assert row["times_textbook"] is row["times_products"] is None


def test_ratios_are_medians_within_a_round():
    ours, theirs = iter([0.0, 10.0, 6.0, 8.0]), iter([0.0, 1.0, 2.0, 1.0])
    rates = {"ours": [*ours][1:], "textbook": [*theirs][1:]}
    assert bench._ratio(rates["ours"], rates["textbook"]) == 8


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolutional_network_is_trained_in_either_layout(layout):
    network = ModelConfig((1, 8, 8), family="conv", hidden=(4, 8))
    assert bench.ours(network, digits(), 64, "float32", layout)() > 0


def test_the_layer_that_reads_the_image_needs_no_gradient_of_its_input(monkeypatch):
    shapes = []
    original = torch.matmul

    def counted(a, b):
        shapes.append((*a.shape, b.shape[1]))
        return original(a, b)

    monkeypatch.setattr(bench, "_STEPS", 1)
    run = bench.products(SMALL, 32)
    monkeypatch.setattr(torch, "matmul", counted)
    run()
    n_layers = sum(isinstance(m, nn.Linear) for m in VAE(SMALL).modules())
    assert len(shapes) == 3 * n_layers - 1
    assert (32, 16, 64) in shapes  # the last layer's forward product
    # Nothing gives the gradient of the pixels but the decoder's own forward product.
    assert shapes.count((32, 16, 64)) == 1
