import copy
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vae.config import ACTIVATIONS, FAMILIES, ModelConfig
from vae.core.model import VAE
from vae.live.program import Program, compile_module
from vae.live.recording import NonFiniteWeights, ProgramError, UnsupportedLayer
from vae.runs.checkpoint import open_run

ROOT = Path(__file__).resolve().parents[2]


def kinds(program: Program) -> list[str]:
    return [op["op"] for op in program.ops]


def part(program: Program, op: dict, name: str, count: int) -> torch.Tensor:
    return torch.from_numpy(program.weights[op[name] :][:count].astype(np.float32))


def image_net(*layers: nn.Module, channels: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, channels * 25), nn.Unflatten(1, (channels, 5, 5)), *layers)


class Calls(nn.Module):
    """A module that calls a function."""

    def __init__(self, function, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, one in parts.items():
            setattr(self, name, one)

    def forward(self, x):
        return self.function(x)


# What compiles


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=(0, 1), groups=2), ["conv"]),
        (nn.Conv2d(4, 2, 3, padding="same", bias=False), ["conv_transpose"]),
        (nn.Conv2d(4, 2, 2, padding="valid", dilation=2), ["conv_transpose"]),
        (nn.Conv2d(4, 2, 2, padding=2), ["conv"]),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), ["conv_transpose"]),
        (nn.BatchNorm2d(4), []),
        (nn.Softmax(-1), ["softmax"]),
        (nn.LayerNorm(5), ["normalise", "affine"]),
        (nn.LayerNorm((4, 5, 5), elementwise_affine=False), ["normalise"]),
        (nn.GroupNorm(2, 4), ["normalise", "affine"]),
        (nn.GroupNorm(2, 4, affine=False), ["normalise"]),
        *((act, ["activation"]) for act in (nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.GELU())),
        *((act, ["activation"]) for act in (nn.GELU("tanh"), nn.SiLU(), nn.Tanh(), nn.Sigmoid())),
        *((act, ["activation"]) for act in (nn.Softplus(), nn.Hardtanh(), nn.ReLU6())),
        (nn.ReLU(inplace=True), ["activation"]),
        (nn.Upsample(scale_factor=2), ["resample"]),
        (nn.Upsample(size=(3, 7), mode="bilinear", align_corners=True), ["resample"]),
        *((free, []) for free in (nn.Flatten(), nn.Identity(), nn.Dropout(), nn.Dropout2d())),
        (nn.Sequential(nn.Sequential(nn.Identity()), nn.Unflatten(1, (2, 2))), []),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_layers_become_operations(layer, expected):
    net = image_net(layer).eval()
    program = compile_module(net, (2,))
    assert kinds(program) == ["linear", *expected]
    assert program.output_shapes == (tuple(net(torch.zeros(1, 2)).shape[1:]),)
    assert program.sizes[program.outputs[0]] == math.prod(program.output_shapes[0])


SCALE = nn.Parameter(torch.rand(6))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.linear(x, torch.ones(3, 6)), ["linear"]),
        (lambda x: x @ torch.ones(6, 3), ["linear"]),
        (lambda x: x.relu(), ["activation"]),
        (lambda x: F.relu(x), ["activation"]),
        (lambda x: torch.relu(x), ["activation"]),
        (lambda x: F.silu(x), ["activation"]),
        (lambda x: x.tanh(), ["activation"]),
        (lambda x: torch.sigmoid(input=x), ["activation"]),
        (lambda x: x.clamp(min=-1), ["activation"]),
        (lambda x: F.gelu(x, approximate="tanh"), ["activation"]),
        (lambda x: x.reshape(-1, x.shape[-1]), []),
        (lambda x: x.view(x.size(0), 2, 3).flatten(1), []),
        (lambda x: x[:, None, :, None].squeeze(), []),
        (lambda x: F.dropout(x, training=False), []),
        (lambda x: x + x.relu(), ["activation", "add"]),
        (lambda x: x * x, ["multiply"]),
        (lambda x: 2 * x, ["affine"]),
        (lambda x: (1 - x) / 3, ["affine", "affine"]),
        (lambda x: x * SCALE, ["affine"]),
        (lambda x: torch.ones_like(x) - x, ["affine"]),
        (lambda x: x.new_zeros(x.shape).add_(x), ["affine"]),
        (lambda x: x.chunk(2, 1), ["gather", "gather"]),
        (lambda x: x.split([1, 5], dim=1)[1], ["gather"]),
        (lambda x: x.narrow(1, 0, 2), ["gather"]),
        (lambda x: x.view(-1, 2, 3).transpose(1, 2), ["gather"]),
        (lambda x: F.interpolate(x.view(-1, 1, 2, 3), scale_factor=2.0), ["resample"]),
    ],
)
def test_functions_become_operations(function, expected):
    assert kinds(compile_module(Calls(function), (6,))) == expected


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_our_models_compile_both_ways(family, act):
    model = VAE(ModelConfig((3, 11, 8), 5, family, (6, 4), act))
    decoder = compile_module(model.decoder, (5,))
    assert decoder.output_shapes == ((3, 11, 8),)
    encoder = compile_module(model.encoder, (3, 11, 8))
    assert encoder.output_shapes == ((5,), (5,))
    assert len(decoder.weights) == sum(p.numel() for p in model.decoder.parameters())


@pytest.mark.parametrize("path", sorted((ROOT / "checkpoints").glob("[!.]*")), ids=lambda p: p.name)
def test_the_checkpoints_that_ship_compile(path):
    model = open_run(path).load_model()
    compile_module(model.encoder, model.config.image_shape)
    decoder = compile_module(model.decoder, (model.config.latent_dim,))
    assert decoder.output_shapes == (model.config.image_shape,)


def test_the_header_is_json_and_the_weights_are_little_endian_float32():
    net = nn.Sequential(nn.Linear(2, 4), nn.Softplus(), nn.Unflatten(1, (1, 2, 2)))
    program = compile_module(net, (2,))
    header = json.loads(json.dumps(program.header(), allow_nan=False))
    assert header == {
        "ops": [
            {"op": "linear", "in": 0, "out": 1, "rows": 1, "inputs": 2, "outputs": 4}
            | {"weight": 0, "bias": 8},
            {"op": "activation", "in": 1, "out": 2, "kind": "softplus"}
            | {"beta": 1.0, "threshold": 20.0},
        ],
        "sizes": [2, 4, 4],
        "outputs": [2],
        "output_shapes": [[1, 2, 2]],
        "floats": 12,
    }
    assert program.weights.dtype == np.dtype("<f4")
    little_endian = np.frombuffer(program.weights.tobytes(), "<f4")
    assert little_endian[:8].tolist() == net[0].weight.detach().flatten().tolist()
    assert little_endian[8:].tolist() == net[0].bias.tolist()


def test_what_nothing_reads_is_left_out():
    net = nn.Linear(3, 6)
    program = compile_module(Calls(lambda x: (net(x), net(x).chunk(2, 1)[1])[0]), (3,))
    assert kinds(program) == ["linear"]
    assert len(program.weights) == 24


# Batch normalisation


def trained(norm: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for values in norm.state_dict().values():
        if values.is_floating_point():
            values.uniform_(0.5, 2, generator=generator)
    return norm


def test_batch_norm_is_folded_into_the_layer_before_it():
    norm = trained(nn.BatchNorm1d(3))
    program = compile_module(nn.Sequential(nn.Linear(2, 3), norm), (2,))
    assert kinds(program) == ["linear"]
    net = nn.Sequential(nn.Linear(2, 3), norm).eval()
    program = compile_module(net, (2,))
    (op,) = program.ops
    x = torch.rand(5, 2)
    weight, bias = part(program, op, "weight", 6).view(3, 2), part(program, op, "bias", 3)
    torch.testing.assert_close(F.linear(x, weight, bias), net(x))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_batch_norm_is_folded_into_convolutions(kind, groups):
    net = nn.Sequential(kind(4, 6, (2, 3), groups=groups), trained(nn.BatchNorm2d(6))).eval()
    program = compile_module(net, (4, 5, 5))
    (op,) = program.ops
    bias = part(program, op, "bias", 6)
    weight = part(program, op, "weight", net[0].weight.numel())
    if kind is nn.Conv2d:
        folded = F.conv2d
        weight = weight.view(net[0].weight.shape)
    else:
        folded = F.conv_transpose2d
        weight = weight.view(groups, 6 // groups * 6, 4 // groups).mT.reshape(4, -1, 2, 3)
    x = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(folded(x, weight, bias, groups=groups), net(x))


def test_batch_norm_of_a_linear_layers_image_is_folded_and_of_its_pixels_too():
    per_channel = image_net(trained(nn.BatchNorm2d(4)))
    assert kinds(compile_module(per_channel, (2,))) == ["linear"]
    per_pixel = image_net(nn.Conv2d(4, 1, 3), nn.Flatten(), trained(nn.BatchNorm1d(9)))
    assert kinds(compile_module(per_pixel, (2,))) == ["linear", "conv_transpose", "affine"]


def test_batch_norm_is_not_folded_where_the_value_before_it_is_read_again():
    parts = {"first": nn.Linear(2, 3), "norm": nn.BatchNorm1d(3)}

    def forward(x):
        h = parts["first"](x)
        return h + parts["norm"](h)

    program = compile_module(Calls(forward, **parts).eval(), (2,))
    assert kinds(program) == ["linear", "affine", "add"]


def test_batch_norm_without_running_statistics_is_refused():
    net = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False))
    with pytest.raises(UnsupportedLayer, match=r"layer 0 \(BatchNorm1d\) has no running stat"):
        compile_module(net, (2,))


# In place


def test_what_is_changed_in_place_is_read_as_changed():
    def forward(x):
        h = x * 2
        F.relu(h, inplace=True)
        return h + x

    program = compile_module(Calls(forward), (3,))
    assert kinds(program) == ["affine", "activation", "add"]
    assert program.ops[2]["in"] == program.ops[1]["out"]


def test_a_copy_is_not_changed_with_its_original():
    def forward(x):
        h = x * 2
        before = h.clone()
        view = h.view(-1, 3)
        h.relu_()
        return before, view

    program = compile_module(Calls(forward), (3,))
    assert program.outputs == (program.ops[0]["out"], program.ops[1]["out"])


def test_a_change_in_place_of_a_part_is_refused():
    def forward(x):
        h = x * 2
        first, _ = h.chunk(2, 1)
        first.relu_()
        return h

    with pytest.raises(UnsupportedLayer, match="changes a part of a tensor in place"):
        compile_module(Calls(forward), (4,))


# What does not compile


class Branches(nn.Module):
    def forward(self, x):
        return x if (x > 0).all() else -x


@pytest.mark.parametrize(
    ("module", "shape", "sentence"),
    [
        (
            image_net(nn.Softmax(1)),
            (2,),
            "layer 2 (Softmax) calls softmax over another axis than the last, which has no "
            "browser version",
        ),
        (image_net(nn.MaxPool2d(2)), (2,), "layer 2 (MaxPool2d) has no browser version"),
        (
            nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.LogSoftmax(dim=1))),
            (2,),
            "layer 0.1 (LogSoftmax) has no browser version",
        ),
        (
            image_net(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
            (2,),
            "layer 2 (Conv2d) pads in mode 'reflect', which has no browser version",
        ),
        (
            image_net(nn.Upsample(scale_factor=2, mode="bicubic")),
            (2,),
            "layer 2 (Upsample) resizes by mode 'bicubic', which has no browser version",
        ),
        (
            nn.Sequential(nn.Identity(), Calls(lambda x: x.sort(1)[0])),
            (2,),
            "layer 1 (Calls) calls sort, which has no browser version",
        ),
        (nn.GRU(2, 3), (4, 2), "the module (GRU) has no browser version"),
        (nn.LSTM(2, 3), (4, 2), "the module (LSTM) has no browser version"),
        (
            nn.MaxPool2d(2, return_indices=True),
            (1, 4, 4),
            "the module (MaxPool2d) has no browser version",
        ),
        (
            Branches(),
            (2,),
            "the module (Branches) calls gt, so what it does depends on the values it is given",
        ),
        (
            Calls(lambda x: x * x.tolist()[0][0]),
            (2,),
            "the module (Calls) calls tolist, so what it does depends on the values it is given",
        ),
        (
            Calls(lambda x: torch.from_numpy(x.numpy())),
            (2,),
            "the module (Calls) calls numpy, so what it does depends on the values it is given",
        ),
        (
            Calls(lambda x: x * x.shape[0]),
            (2,),
            "what Calls computes depends on the size of the batch, or on chance",
        ),
        (
            Calls(lambda x: x + torch.randn(2)),
            (2,),
            "what Calls computes depends on the size of the batch, or on chance",
        ),
        (
            Calls(lambda x: x + torch.arange(len(x))[:, None]),
            (2,),
            "the module (Calls) combines its input with a constant of another shape or for a "
            "whole batch",
        ),
        (Calls(lambda x: x.flip(0)), (2,), "the module (Calls) mixes the inputs of a batch"),
        (Calls(lambda x: x.T), (2,), "the module (Calls) calls T, which has no browser version"),
        (
            Calls(lambda x: F.layer_norm(x, x.shape)),
            (2,),
            "the module (Calls) mixes the inputs of a batch",
        ),
        (
            Calls(lambda x: F.dropout(x)),
            (2,),
            "the module (Calls) drops values at random even in evaluation",
        ),
        (
            Calls(lambda x: x.view(-1, 1, 2) + x.view(-1, 2, 1)),
            (2,),
            "the module (Calls) combines tensors of two shapes, (1, 2) and (2, 1), which has no "
            "browser version",
        ),
        (
            Calls(lambda x: F.linear(torch.ones(3, 2), x)),
            (2,),
            "the module (Calls) reads a constant where its input belongs, which has no browser "
            "version",
        ),
        (
            Calls(lambda x: x.half()),
            (2,),
            "the module (Calls) calls half, which has no browser version",
        ),
        (
            Calls(lambda x: torch.zeros(len(x), 2)),
            (2,),
            "Calls returns a Tensor that does not come from its input by functions of torch; it "
            "should return tensors",
        ),
        (
            Calls(lambda x: {"mu": x}),
            (2,),
            "Calls returns a dict that does not come from its input by functions of torch; it "
            "should return tensors",
        ),
        (Calls(lambda x: x.flatten()), (2,), "Calls returns a tensor without the batch's axis"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_has_no_browser_version_is_named(module, shape, sentence):
    with pytest.raises(UnsupportedLayer) as caught:
        compile_module(module, shape)
    assert str(caught.value) == sentence


def test_a_hook_is_refused():
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    with pytest.raises(UnsupportedLayer, match=r"layer 0 \(Linear\) has a forward hook"):
        compile_module(net, (2,))


def test_a_parametrised_weight_is_computed():
    net = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    program = compile_module(net, (2,))
    weight = part(program, program.ops[0], "weight", 6).view(3, 2)
    torch.testing.assert_close(weight, net.weight.detach())


def test_inputs_of_another_shape_are_named():
    net = nn.Sequential(nn.Identity(), nn.Linear(2, 3))
    with pytest.raises(ProgramError, match=r"layer 1 \(Linear\) fails on inputs of shape \(5,\)"):
        compile_module(net, (5,))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_named(value):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    broken = copy.deepcopy(net)
    broken[0].weight.data[1, 1] = value
    with pytest.raises(NonFiniteWeights, match=r"^0\.weight holds values that are not finite"):
        compile_module(broken, (2,))
    broken = copy.deepcopy(net)
    broken[1].running_mean[2] = value
    with pytest.raises(NonFiniteWeights, match=r"^1\.running_mean holds values"):
        compile_module(broken, (2,))


def test_weights_beyond_float32_are_not_finite():
    net = nn.Linear(2, 1).double()
    net.weight.data[:] = 1e60
    with pytest.raises(NonFiniteWeights, match="beyond float32"):
        compile_module(net, (2,))


# The module is left as it is


@pytest.mark.parametrize("training", [True, False])
def test_the_module_keeps_its_mode_its_weights_and_its_hooks(training):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.ReLU(inplace=True))
    net.train(training)
    net[2].train(not training)
    modes = [layer.training for layer in net.modules()]
    before = copy.deepcopy(net.state_dict())
    compile_module(net, (2,))
    assert [layer.training for layer in net.modules()] == modes
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net.modules())
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_module_in_training_compiles_as_in_evaluation():
    net = nn.Sequential(nn.Linear(2, 3), trained(nn.BatchNorm1d(3)), nn.Dropout())
    trains, evaluates = (compile_module(net.train(mode), (2,)) for mode in (True, False))
    assert trains.header() == evaluates.header()
    assert np.array_equal(trains.weights, evaluates.weights)


def test_other_threads_use_their_models_meanwhile():
    other, ran = nn.Linear(2, 2), []

    def forward(x):
        thread = threading.Thread(target=lambda: ran.append(other(torch.ones(1, 2))))
        thread.start()
        thread.join()
        return x * 2

    assert kinds(compile_module(Calls(forward), (2,))) == ["affine"]
    torch.testing.assert_close(ran[0], other(torch.ones(1, 2)))
