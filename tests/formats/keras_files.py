"""Files as Keras 2 and Keras 3 write them, made by h5py without Keras."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

RNG = np.random.default_rng(0)


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [RNG.normal(0, 0.1, size=shape).astype(np.float32) for shape in shapes]


def encoder() -> dict[str, tuple[str, list[np.ndarray]]]:
    """Layer -> Keras's class and its variables, in Keras's axes: 8 x 8 x 1 to k = 2."""
    return {
        "input_layer": ("InputLayer", []),
        "conv2d": ("Conv2D", arrays((3, 3, 1, 4), (4,))),
        "batch_normalization": ("BatchNormalization", arrays((4,), (4,), (4,), (4,))),
        "leaky_re_lu": ("LeakyReLU", []),
        "flatten": ("Flatten", []),
        "dense": ("Dense", arrays((64, 5), (5,))),
        "z_mean": ("Dense", arrays((5, 2), (2,))),
        "z_log_var": ("Dense", arrays((5, 2), (2,))),
        "sampling": ("Sampling", []),
    }


def decoder() -> dict[str, tuple[str, list[np.ndarray]]]:
    return {
        "input_layer_1": ("InputLayer", []),
        "dense_1": ("Dense", arrays((2, 64), (64,))),
        "reshape": ("Reshape", []),
        "conv2d_transpose": ("Conv2DTranspose", arrays((3, 3, 1, 4), (1,))),
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "input_layer": {"batch_shape": [None, 8, 8, 1]},
    "conv2d": {"strides": [2, 2], "padding": "same", "activation": "linear", "kernel_size": [3, 3]},
    "batch_normalization": {"epsilon": 0.001},
    "leaky_re_lu": {"negative_slope": 0.2},
    "dense": {"units": 5, "activation": "relu"},
    "z_mean": {"units": 2, "activation": "linear"},
    "z_log_var": {"units": 2, "activation": "linear"},
    "input_layer_1": {"batch_shape": [None, 2]},
    "dense_1": {"units": 64, "activation": {"class_name": "LeakyReLU", "config": {"alpha": 0.1}}},
    "reshape": {"target_shape": [4, 4, 4]},
    "conv2d_transpose": {"strides": [2, 2], "padding": "same", "activation": "sigmoid"},
}
VARIABLES = {
    "Dense": ("kernel", "bias"),
    "Conv2D": ("kernel", "bias"),
    "Conv2DTranspose": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


def config_of(name: str, layers: dict[str, Any]) -> dict[str, Any]:
    said, before = [], None
    for layer, (class_, _) in layers.items():
        reads = [] if before is None else [[[before, 0, 0, {}]]]
        config = {"name": layer, **SETTINGS.get(layer, {})}
        said.append({"class_name": class_, "config": config, "inbound_nodes": reads, "name": layer})
        before = layer
    return {"class_name": "Functional", "config": {"name": name, "layers": said}, "name": name}


def vae_config() -> dict[str, Any]:
    parts = [config_of("encoder", encoder()), config_of("decoder", decoder())]
    return {"class_name": "Functional", "config": {"name": "vae", "layers": parts}}


def write_legacy(path: Path, parts: dict[str, Any], config: dict | None = None) -> None:
    """Of Keras 2: whole, with its description; or weights alone. Nested, or one model flat."""
    with h5py.File(path, "w") as file:
        root = file if config is None else file.create_group("model_weights")
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            file.create_dataset("optimizer_weights/adam/dense_kernel_m", data=np.ones((4, 4), "f4"))
        root.attrs["layer_names"] = [name.encode() for name in parts]
        root.attrs["backend"] = b"tensorflow"
        for name, inside in parts.items():
            group = root.create_group(name)
            nested = isinstance(inside, dict)
            names = []
            for layer, (class_, values) in (inside if nested else {name: inside}).items():
                for variable, value in zip(VARIABLES.get(class_, ()), values, strict=True):
                    names.append(f"{layer}/{variable}:0")
                    group.create_dataset(names[-1], data=value)
            group.attrs["weight_names"] = [text.encode() for text in names]


def snakes() -> dict[str, str]:
    return {
        "InputLayer": "input_layer",
        "Conv2D": "conv2d",
        "BatchNormalization": "batch_normalization",
        "LeakyReLU": "leaky_re_lu",
        "Flatten": "flatten",
        "Dense": "dense",
        "Sampling": "sampling",
        "Reshape": "reshape",
        "Conv2DTranspose": "conv2d_transpose",
    }


def write_keras3(file: h5py.File, parts: dict[str, Any], named: bool = True) -> None:
    """`.weights.h5` of Keras 3: paths of classes and numbers; own names in attributes."""

    def layers_in(group: h5py.Group, layers: dict[str, Any]) -> None:
        counted: dict[str, int] = {}
        for layer, (class_, values) in layers.items():
            snake = snakes()[class_]
            n = counted.get(snake, 0)
            counted[snake] = n + 1
            inside = group.create_group(f"layers/{snake}_{n}" if n else f"layers/{snake}")
            variables = inside.create_group("vars")
            if named:
                variables.attrs["name"] = layer
            for i, value in enumerate(values):
                variables.create_dataset(str(i), data=value)

    for i, (name, layers) in enumerate(parts.items()):
        group = file.create_group(f"layers/functional_{i}" if i else "layers/functional")
        layers_in(group, layers)
        variables = group.create_group("vars")
        if named:
            variables.attrs["name"] = name
    file.create_dataset("optimizer/vars/0", data=np.ones(3, "f4"))


def write_archive(
    path: Path, parts: dict[str, Any], named: bool = True, compression: int = zipfile.ZIP_STORED
) -> None:
    """`.keras`: a zip archive of the description and the weights."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write_keras3(file, parts, named)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        archive.writestr("config.json", json.dumps(vae_config()))
        archive.writestr("model.weights.h5", buffer.getvalue())


def expected(parts: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights under torch's names and in torch's axes."""
    torchs = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
    torchs |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    found = {}
    for part, layers in parts.items():
        for layer, (class_, values) in layers.items():
            for variable, value in zip(VARIABLES.get(class_, ()), values, strict=True):
                axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(value.ndim)
                turned = value if axes is None else value.transpose(axes)
                found[f"{part}.{layer}.{torchs[variable]}"] = turned
    return found
