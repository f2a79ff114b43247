"""Writes a trained network in the container that its layout has."""

import io
import json
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from wild.layouts import Layout
from wild.networks import Author, Part

State = dict[str, Tensor]


def write(path: Path, layout: Layout, state: State, author: Author | None = None) -> Path:
    """Writes the file.

    Args:
        path: without an ending.
        layout: its container says how.
        state: every tensor, under torch's names.
        author: whose weights these are; needed by what holds more than tensors.

    Returns:
        The file, or the folder.
    """
    kind, inner = layout.container, OrderedDict(state)
    if kind == "state dict":
        return _save(inner, path.with_suffix(".pth"))
    if kind.startswith("dict with the state dict under"):
        return _save(_training_state(kind.split()[-1], inner), path.with_suffix(".pt"))
    if kind == "dict with numpy arrays":
        arrays = {name.split(" ")[0]: np.arange(15.0) for name in layout.others}
        extra = {"epoch": np.int64(12), "val_loss": np.float64(0.3), "losses": [0.5, 0.4]}
        return _save({layout.prefix: inner} | arrays | extra, path.with_suffix(".pt"))
    if kind == "whole pickled module":
        net = author.net if author else _recurrent(state)
        return _save_whole(net, path.with_suffix(".pt"))
    if kind == "TorchScript":
        assert author is not None
        return _save_script(author, path.with_suffix(".pt"))
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in inner.items()}, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    if kind == "Lightning":
        return _save(_lightning(inner), path.with_suffix(".ckpt"))
    if kind in ("float16", "bfloat16", "float64"):
        dtype = getattr(torch, kind)
        cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inner.items()}
        return _save(OrderedDict(cast), path.with_suffix(".pt"))
    if kind.startswith("prefix "):
        prefix = kind.split()[1]
        return _save({f"{prefix}{k}": v for k, v in inner.items()}, path.with_suffix(".pt"))
    if kind.startswith("Keras"):
        return _save_keras(path, layout, state)
    raise AssertionError(f"no writer for {kind}")


def _save(value: Any, path: Path) -> Path:
    torch.save(value, path)
    return path


def _training_state(key: str, state: State) -> dict[str, Any]:
    moments = {
        n: {"step": torch.tensor(9.0), "exp_avg": torch.zeros_like(v)}
        for n, v in enumerate(state.values())
    }
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "params": list(moments)}
    return {
        "epoch": 20,
        key: state,
        "optimizer_state_dict": {"state": moments, "param_groups": [group]},
        "test_loss": 104.2,
        "hidden_dim": 256,
    }


def _lightning(state: State) -> dict[str, Any]:
    return {
        "epoch": 9,
        "global_step": 790,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict((f"model.{k}", v) for k, v in state.items()),
        "loops": {"fit_loop": {"state_dict": {}}},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-3},
    }


def _save_whole(net: nn.Module, path: Path) -> Path:
    """torch.save(model) of a script: classes of __main__, which nobody can import later."""
    main = sys.modules["__main__"]
    made: dict[str, type] = {}

    def copy(module: nn.Module, name: str) -> nn.Module:
        if type(module) is not Part:
            return module
        made[name] = type(name, (nn.Module,), {"__module__": "__main__"})
        new = made[name]()
        for child, inner in module.named_children():
            new.add_module(child, copy(inner, child.title().replace("_", "")))
        return new

    model = copy(net, "VAE")
    model.latent_dim = 2
    before = {name: main.__dict__.get(name) for name in made}
    try:
        main.__dict__.update(made)
        torch.save(model, path)
    finally:
        for name, old in before.items():
            main.__dict__.pop(name)
            if old is not None:
                main.__dict__[name] = old
    return path


def _recurrent(state: State) -> nn.Module:
    """The modules behind the names of a recurrent network."""
    net = Part()
    for name in dict.fromkeys(key.rpartition(".")[0] for key in state):
        if f"{name}.weight_ih_l0" in state:
            gates, inputs = state[f"{name}.weight_ih_l0"].shape
            both = f"{name}.weight_ih_l0_reverse" in state
            net.add_module(name, nn.LSTM(inputs, gates // 4, batch_first=True, bidirectional=both))
        else:
            n_out, n_in = state[f"{name}.weight"].shape
            net.add_module(name, nn.Linear(n_in, n_out))
    return net


class _Scripted(nn.Module):
    def __init__(self, author: Author) -> None:
        super().__init__()
        for name, module in author.net.named_children():
            self.add_module(name, module)
        self._author = author

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._author.forward(*inputs)


def _save_script(author: Author, path: Path) -> Path:
    x = torch.rand(1, *author.recipe.shape)
    inputs = (x, torch.tensor([3])) if author.recipe.n_classes else (x,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what people have was made when nothing warned of it
        torch.jit.trace(_Scripted(author).eval(), inputs, check_trace=False).save(str(path))
    return path


def _save_keras(path: Path, layout: Layout, state: State) -> Path:
    import h5py

    values = dict(_keras_arrays(layout, state))
    if layout.container == "Keras archive":
        target, weights = path.with_suffix(".keras"), io.BytesIO()
        with h5py.File(weights, "w") as file:
            for name, array in values.items():
                file[name] = array
        config = {"module": None, "class_name": "VAE", "config": {"trainable": True}}
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.4.1"}))
            archive.writestr("config.json", json.dumps(config | {"registered_name": "VAE"}))
            archive.writestr("model.weights.h5", weights.getvalue())
        return target
    if layout.container == "Keras 3 weights":
        target = path.with_name(f"{path.name}.weights.h5")
        with h5py.File(target, "w") as file:
            for name, array in values.items():
                file[name] = array
        return target
    target = path.with_suffix(".h5")
    with h5py.File(target, "w") as file:
        layers = list(dict.fromkeys(name.split("/")[0] for name in values))
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.11.0"
        for layer in layers:
            group = file.create_group(layer)
            names = [name for name in values if name.split("/")[0] == layer]
            inner = [f"{name.partition('/')[2]}:0" for name in names]
            # The kernel before the bias, as Keras makes them; files list them by the alphabet.
            inner.sort(key=lambda name: (name.rpartition("/")[0], name.endswith("bias:0")))
            group.attrs["weight_names"] = [name.encode() for name in inner]
            for name in names:
                group[f"{name.partition('/')[2]}:0"] = values[name]
    return target


def _keras_arrays(layout: Layout, state: State) -> Any:
    """Names and arrays as Keras has them: inputs before outputs, the sides of a kernel first."""
    modules = list(dict.fromkeys(key.rpartition(".")[0] for key in state))
    for name, shape in layout.tensors:
        *path, part = name.split("/")
        module = ".".join(path)
        assert module in modules, name
        if part in ("kernel", "0"):
            weight = state[f"{module}.weight"]
            array = weight.permute(2, 3, 1, 0) if weight.dim() == 4 else weight.T
        else:
            array = state[f"{module}.bias" if part in ("bias", "1") else f"{module}.weight"]
        array = array.detach().contiguous().numpy()
        assert array.shape == shape, (name, array.shape, shape)
        yield name, array
