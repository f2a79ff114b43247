"""A model with a condition, and the same model with the condition fixed."""

import pytest
import torch
from torch import nn

from vae.config import ForeignModel, ModelConfig
from vae.core.likelihood import Bernoulli
from vae.core.model import VAE
from vae.errors import UserError


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4 + 3, 4)

    def forward(self, x, c):
        return self.layer(torch.cat([x.flatten(1), c], 1)).chunk(2, 1)


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2 + 3, 4)

    def forward(self, z, c):
        return self.layer(torch.cat([z, c], -1)).unflatten(-1, (1, 2, 2))


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = ForeignModel((1, 2, 2), 2, "bernoulli", "any", n_classes=3)
    return VAE.of_parts(config, _Encoder(), _Decoder(), Bernoulli())


def test_labels_for_each_image_give_what_each_label_gives_alone(model):
    x, z = torch.rand(5, 1, 2, 2), torch.randn(7, 5, 2)
    labels = torch.tensor([0, 2, 1, 1, 0])
    mu, logvar = model.given(labels).encode(x)
    images = model.given(labels).decode(z)
    for i, label in enumerate(labels.tolist()):
        alone = model.given(label)
        torch.testing.assert_close(mu[i], alone.encode(x)[0][i])
        torch.testing.assert_close(logvar[i], alone.encode(x)[1][i])
        torch.testing.assert_close(images[:, i], alone.decode(z)[:, i])


def test_without_a_label_it_says_so(model):
    with pytest.raises(UserError, match="a label of 3 classes"):
        model.encode(torch.rand(5, 1, 2, 2))
    with pytest.raises(UserError, match="a label of 3 classes"):
        model.decode(torch.zeros(2))


@pytest.mark.parametrize("label", [-1, 3, torch.tensor([0, 7])])
def test_a_label_without_a_class_is_refused(model, label):
    with pytest.raises(UserError, match="from 0 to 2"):
        model.given(label)


def test_a_model_without_a_condition_is_itself():
    plain = VAE.of_parts(ForeignModel((1, 2, 2), 2, "bernoulli", "any"), None, None, Bernoulli())
    assert plain.given(1) is plain


# Our own networks: the label goes behind the pixels and behind z, or beside the channels.


def test_an_mlp_reads_the_label_behind_the_pixels_and_behind_z():
    ours = VAE(ModelConfig((1, 2, 3), hidden=(5,), activation="relu", n_classes=3))
    weights = ours.state_dict()
    x, z = torch.rand(4, 1, 2, 3), torch.randn(4, 2)
    c = torch.tensor([[0.0, 1.0, 0.0]]).repeat(4, 1)
    assert weights["encoder.body.1.weight"].shape == (5, 9)
    h = torch.hstack([x.flatten(1), c]) @ weights["encoder.body.1.weight"].T
    h = torch.relu(h + weights["encoder.body.1.bias"])
    mu = h @ weights["encoder.mu.weight"].T + weights["encoder.mu.bias"]
    torch.testing.assert_close(ours.given(1).encode(x)[0], mu)
    h = torch.hstack([z, c]) @ weights["decoder.body.0.weight"].T
    h = torch.relu(h + weights["decoder.body.0.bias"])
    out = h @ weights["decoder.body.2.weight"].T + weights["decoder.body.2.bias"]
    torch.testing.assert_close(ours.given(1).decode(z), out.reshape(4, 1, 2, 3))


def test_a_conv_reads_the_label_as_planes():
    ours = VAE(ModelConfig((3, 4, 6), family="conv", hidden=(5,), n_classes=2))
    x = torch.rand(4, 3, 4, 6)
    planes = torch.zeros(4, 2, 4, 6)
    planes[:, 1] = 1
    mu = ours.encoder.mu(ours.encoder.body(torch.cat([x, planes], 1)))
    torch.testing.assert_close(ours.given(1).encode(x)[0], mu)
    assert ours.given(torch.tensor([0, 1])).decode(torch.randn(7, 2, 2)).shape == (7, 2, 3, 4, 6)
    with pytest.raises(RuntimeError):
        ours.encoder(x)
