"""One ONNX graph with encoder and decoder is cut where z enters: the same numbers as its halves."""

import io
from collections.abc import Callable

import pytest
import torch
from formats.hostile_files import use_everything
from formats.wholes import Decoder, Encoder
from fuzzing import damaged, fuzz
from torch import nn

from vae import formats
from vae.runs.checkpoint import CheckpointError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's exporter


class Whole(nn.Module):
    """Outputs in an order, z drawn in one of the usual ways, or mu itself."""

    def __init__(self, order, draw):
        super().__init__()
        self.order, self.draw = order, draw
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, x, *noise):
        mu, logvar = self.encoder(x)
        std = torch.exp(0.5 * logvar)
        if self.draw == "randn_like":
            z = mu + torch.randn_like(std) * std
        elif self.draw == "given":
            z = std * noise[0] + mu
        else:
            z = mu
        out = {"recon": self.decoder(z), "mu": mu, "logvar": logvar, "z": z + 0}
        return tuple(out[name] for name in self.order)


def export(module, path, order, *args, **options):
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        args,
        buffer,
        dynamo=False,
        input_names=["x", "eps"][: len(args)],
        output_names=list(order),
        **options,
    )
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("draw", ["randn_like", "given", "none"])
@pytest.mark.parametrize(
    "order", [("recon", "mu", "logvar"), ("logvar", "z", "recon", "mu"), ("mu", "logvar", "recon")]
)
def test_it_gives_what_its_halves_give(tmp_path, order, draw):
    torch.manual_seed(0)
    module, x = Whole(order, draw).eval(), torch.rand(3, 1, 8, 8)
    args = (x, torch.zeros(3, 2)) if draw == "given" else (x,)
    axes = {name: {0: "N"} for name in ("x", "eps")[: len(args)]}
    path = export(module, tmp_path / "vae.onnx", order, *args, dynamic_axes=axes)
    run = formats.open_run(path)
    assert (run.model_config.image_shape, run.model_config.latent_dim) == ((1, 8, 8), 2)
    model = run.load_model()
    with torch.no_grad():
        mu, logvar = model.encode(x[:2])
        wanted_mu, wanted_logvar = module.encoder(x[:2])
        image = module.decoder(wanted_mu + 1)
    torch.testing.assert_close(mu, wanted_mu, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logvar, wanted_logvar, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.decode_mean(mu + 1), image, rtol=1e-4, atol=1e-5)


def test_without_outputs_for_q_the_noise_shows_where_z_enters(tmp_path):
    torch.manual_seed(0)
    module, x = Whole(("recon",), "randn_like").eval(), torch.rand(3, 1, 8, 8)
    model = formats.open_run(export(module, tmp_path / "vae.onnx", ("recon",), x)).load_model()
    torch.testing.assert_close(model.encode(x), module.encoder(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("order", "draw", "reason"),
    [
        (
            ("mu", "logvar"),
            "none",
            r"encoder alone, from images to mu, logvar; there is",
        ),
        (("recon",), "none", "where z enters was not found .outputs: recon.; next: export"),
        (("recon", "mu"), "none", "where z enters was not found"),
    ],
)
def test_half_of_it_is_refused_with_what_is_missing(tmp_path, order, draw, reason):
    path = export(Whole(order, draw).eval(), tmp_path / "vae.onnx", order, torch.rand(3, 1, 8, 8))
    with pytest.raises(CheckpointError, match=reason):
        formats.open_run(path)


def attack(path, n, **options):
    order = ("recon", "mu", "logvar")
    export(Whole(order, "randn_like").eval(), path, order, torch.rand(1, 1, 8, 8))
    whole = path.read_bytes()

    def open_damaged(draw: Callable) -> None:
        path.write_bytes(damaged(draw, whole))
        use_everything(path)

    fuzz(open_damaged, n, **options)


@pytest.mark.slow
def test_a_damaged_graph_is_used_or_refused(tmp_path):
    attack(tmp_path / "vae.onnx", n=60, derandomize=True)


@pytest.mark.slow
def test_a_damaged_graph_is_used_or_refused_many_times(tmp_path):
    attack(tmp_path / "vae.onnx", n=2000)
