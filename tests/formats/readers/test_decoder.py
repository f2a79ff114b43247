"""A decoder in a file of its own opens without an encoder; half of something else does not."""

import pytest
import torch
from formats import strangers
from torch import nn

from tests.formats.readers.people import Embedded, NormedConv, OneHot, Pooled
from vae import formats
from vae.data import catalogue
from vae.formats.card import DATA
from vae.formats.containers import pairs
from vae.formats.gate import settle
from vae.live.program import compile_module
from vae.runs.checkpoint import CheckpointError

# The tensors of each model's decoder begin so; and what a person would have to choose.
DECODERS = {
    Pooled: (("dec.",), {}),
    NormedConv: (
        ("fc_decode", "decoder."),
        {"activation before the reshape": "activation", "output": "tanh, pixels in [-1, 1]"},
    ),
    Embedded: (
        ("label_emb", "dec_fc", "deconv"),
        {"activation before the reshape": "activation"},
    ),
    OneHot: (("fc3", "fc4"), {"condition": "a label of 10 classes"}),
}


@pytest.mark.parametrize("kind", DECODERS, ids=lambda kind: kind.__name__)
def test_a_decoder_gives_what_its_class_gives(tmp_path, kind):
    torch.manual_seed(0)
    module, (begins, choices) = kind().eval(), DECODERS[kind]
    state = {name: t for name, t in module.state_dict().items() if name.startswith(begins)}
    torch.save(state, tmp_path / "half.pt")
    run = formats.open_run(tmp_path / "half.pt").read_with(choices)
    config, model = run.model_config, run.load_model()
    assert run.card.no_encoder
    assert config.n_classes == getattr(kind, "n_classes", 0)
    z, labels = torch.randn(3, config.latent_dim), torch.tensor([0, 2, 1])
    label = [nn.functional.one_hot(labels, 10).float()] if config.n_classes else []
    given = model.given(labels)
    with torch.no_grad():
        found, wanted = given.likelihood.mean(given.decode(z)), module.decode(z, *label)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    compile_module(model.given(0).decoder, (config.latent_dim,))


class _Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 8 * 49)
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.ELU())
        self.out = nn.ConvTranspose2d(4, 1, 4, 2, 1)

    def forward(self, z):
        h = nn.functional.elu(self.fc(z)).view(-1, 8, 7, 7)
        return torch.sigmoid(self.out(self.up(h)))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("container", ["whole", "TorchScript", "safetensors"])
def test_any_container_may_hold_it(tmp_path, container):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    module, path = _Decoder().eval(), tmp_path / "mine.pt"
    if container == "whole":
        torch.save(module, path)
    elif container == "TorchScript":
        torch.jit.trace(module, torch.zeros(1, 2)).save(str(path))
    else:
        save_file(module.state_dict(), path)
    choices = {"hidden activation": "ELU", "activation before the reshape": "activation"}
    model, z = formats.open_run(path).read_with(choices).load_model(), torch.randn(3, 2)
    torch.testing.assert_close(model.decode_mean(z), module(z), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("copied", [False, True])
def test_the_card_names_what_nothing_reads_and_nothing_else(tmp_path, copied):
    torch.manual_seed(0)
    state = dict(_Decoder().state_dict())
    if copied:  # as for a variance of x
        state |= {name.replace("out", "spare"): t for name, t in state.items() if "out" in name}
    torch.save(state, tmp_path / "decoder.pt")
    notes = formats.open_run(tmp_path / "decoder.pt").card.notes
    left_out = [note for note in notes if note.startswith("left out")]
    assert left_out == ["left out, as nothing reads it: spare"] * copied


@pytest.fixture(scope="module")
def digits():
    return catalogue.load("digits", "test")


def test_the_data_decide_what_shapes_cannot_tell(tmp_path, digits):
    state = {n: t for n, t in strangers.state_dict().items() if n.startswith("dec")}
    state = {n: t / 2 if n.startswith("dec4") else t for n, t in state.items()}  # tanh = 2 s - 1
    torch.save(state, tmp_path / "half.pt")
    run, verdict = settle(formats.open_run(tmp_path / "half.pt"), digits)
    facts = {fact.name: fact for fact in run.facts}
    assert verdict.passed
    assert facts["hidden activation"].value in ("GELU", "SiLU")
    assert facts["output"].value == "tanh, pixels in [-1, 1]"
    assert facts["output"].known == DATA


def test_beyond_two_dimensions_the_numbers_are_warned_of(tmp_path, digits):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 30), nn.ReLU(), nn.Linear(30, 64))
    torch.save(module.state_dict(), tmp_path / "decoder.pt")
    run, verdict = settle(formats.open_run(tmp_path / "decoder.pt"), digits.first(20))
    assert not verdict.passed
    assert "every point stands at the prior" in verdict.reasons[0]
    assert run.card.no_encoder


def _layout(text):
    pairs = [part.split() for part in text.split(", ")]
    return {name: torch.zeros([int(n) for n in shape.split("x")]) for name, shape in pairs}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("netG.pth", "0.weight 100x64x4x4, 3.weight 64x32x4x4, 6.weight 32x3x4x4", "GAN"),
        ("x.pt", "generator.0.weight 100x64x4x4, generator.3.weight 64x3x4x4", "GAN|generator"),
        ("x.pt", "0.weight 64x13, 2.weight 64x64, 4.weight 1x64", "gives 1 numbers"),
        (
            "encoder.pt",
            "fc1.weight 400x784, fc21.weight 20x400, fc22.weight 20x400",
            r"encoder alone, from images of 1x28x28 to k = 20",
        ),
        (
            "x.pt",
            "c1.weight 8x1x4x4, c2.weight 16x8x4x4, mu.weight 2x784, logvar.weight 2x784",
            r"encoder alone, .*k = 2 .* \(mu and logvar\); .*next: put the decoder",
        ),
    ],
)
def test_half_of_something_else_is_refused_by_its_kind(tmp_path, name, text, reason):
    torch.save(_layout(text), tmp_path / name)
    with pytest.raises(CheckpointError, match=reason):
        formats.open_run(tmp_path / name)


def test_a_decoder_beside_its_encoder_is_opened_with_it(tmp_path):
    module = Pooled()
    for half, begins in (("encoder", ("enc", "z_")), ("decoder", ("dec",))):
        state = {n: t for n, t in module.state_dict().items() if n.startswith(begins)}
        torch.save(state, tmp_path / f"my_{half}.pt")
    assert pairs.encoder_of(tmp_path / "my_decoder.pt") == tmp_path / "my_encoder.pt"
    run = formats.open_run(tmp_path / "my_decoder.pt")
    assert not run.card.no_encoder
    assert run.more_files == (tmp_path / "my_decoder.pt",)
