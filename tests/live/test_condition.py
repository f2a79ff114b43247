"""Models with a condition, run by JavaScript: the label stands behind the input of a program."""

from collections.abc import Iterator

import pytest
import torch
from live.node import Node, run_model

from vae.config import FAMILIES, ForeignModel, ModelConfig
from vae.core.likelihood import Bernoulli
from vae.core.model import VAE
from vae.live import pack, source

N, D = 3, 2
SHAPE = (1, 6, 5)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    process = Node(source.module("model.js"))
    yield process
    process.stop()


class Embedded(torch.nn.Module):
    """As people write it: the label through a layer of its own, then added, or beside."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.label, self.read = torch.nn.Linear(N, 4, bias=False), torch.nn.Linear(n_in + 4, 8)
        self.out = torch.nn.Linear(8, n_out)

    def forward(self, x, c):
        h = torch.cat((x.flatten(1), self.label(c)), dim=1)
        out = self.out(torch.relu(self.read(h)))
        return out.unflatten(1, SHAPE) if out.shape[1] == 30 else tuple(out.chunk(2, 1))


def model_of(kind: str) -> VAE:
    torch.manual_seed(0)
    if kind == "embedded":
        parts = Embedded(30, 2 * D), Embedded(D, 30), Bernoulli()
        return VAE.of_parts(ForeignModel(SHAPE, D, "bernoulli", "any", n_classes=N), *parts)
    hidden = (7,) if kind == "mlp" else (3, 4)
    return VAE(ModelConfig(SHAPE, D, family=kind, hidden=hidden, n_classes=N))


@pytest.mark.parametrize("kind", [*FAMILIES, "embedded"])
@torch.no_grad()
def test_each_class_decodes_and_encodes_as_torch_does(node, kind):
    model = model_of(kind)
    assert run_model(node, pack.model_pack(model, "digits"))["n_classes"] == N
    z, x = torch.randn(4, D), torch.rand(4, *SHAPE)
    for label in (2, 0, 1):
        said = node.evaluate(
            """([label, z, x]) => {
                model.give(label);
                // Copied before its memory is used again.
                const together = [...model.decode(z.flat(), z.length)];
                return {
                    means: z.map((one) => [...model.mean(one)]),
                    raw: together,
                    other: [...model.meanGiven(z[0], (label + 1) % 3)],
                    label: model.label,
                    q: x.map((one) => model.encode(one)).map((q) => [[...q.mu], [...q.sigma]]),
                };
            }""",
            [label, z.tolist(), x.flatten(1).tolist()],
        )
        given = model.given(label)
        means = given.decode_mean(z).flatten(1)
        torch.testing.assert_close(torch.tensor(said["means"]), means, rtol=0, atol=1e-5)
        raw = torch.tensor(said["raw"]).reshape(4, -1)
        torch.testing.assert_close(raw, given.decode(z).flatten(1), rtol=0, atol=1e-4)
        other = model.given((label + 1) % 3).decode_mean(z[:1]).flatten()
        torch.testing.assert_close(torch.tensor(said["other"]), other, rtol=0, atol=1e-5)
        assert said["label"] == label
        mu, logvar = given.encode(x)
        found = torch.tensor(said["q"])
        torch.testing.assert_close(found[:, 0], mu, rtol=0, atol=1e-4)
        torch.testing.assert_close(found[:, 1], (logvar / 2).exp(), rtol=0, atol=1e-4)


def test_a_model_without_a_condition_says_so():
    plain = VAE(ModelConfig(SHAPE, D, hidden=(4,)))
    assert pack.header_of(pack.model_pack(plain, "digits"))["n_classes"] == 0
