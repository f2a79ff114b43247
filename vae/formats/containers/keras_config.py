"""What a Keras model's own description says of its layers, in torch's words."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from vae.formats.containers.surveyed import LayerFacts

_MAX_LAYERS = 5_000
_MAX_DEPTH = 12
_MAX_JSON_BYTES = 16 * 2**20

ACTIVATIONS = {
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "swish": "SiLU",
    "silu": "SiLU",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "leaky_relu": "LeakyReLU",
    "relu6": "ReLU6",
    "mish": "Mish",
    "softmax": "Softmax",
    "exponential": "Exp",
    "hard_sigmoid": "Hardsigmoid",
}
_KINDS = {
    "Dense": "Linear",
    "Conv1D": "Conv1d",
    "Conv2D": "Conv2d",
    "Conv3D": "Conv3d",
    "Conv2DTranspose": "ConvTranspose2d",
    "Conv3DTranspose": "ConvTranspose3d",
    "Conv1DTranspose": "ConvTranspose1d",
    "BatchNormalization": "BatchNorm2d",
    "LayerNormalization": "LayerNorm",
    "GroupNormalization": "GroupNorm",
    "MaxPooling2D": "MaxPool2d",
    "AveragePooling2D": "AvgPool2d",
    "GlobalAveragePooling2D": "AdaptiveAvgPool2d",
    "GlobalMaxPooling2D": "AdaptiveMaxPool2d",
    "UpSampling2D": "Upsample",
    "InputLayer": "Input",
    "ReLU": "ReLU",
    "LeakyReLU": "LeakyReLU",
    "ELU": "ELU",
    "PReLU": "PReLU",
    "Softmax": "Softmax",
    "Embedding": "Embedding",
    "ZeroPadding2D": "ZeroPad2d",
}
# The name of a setting, in Keras's words and in torch's.
_SETTINGS = {
    "kernel_size": "kernel_size",
    "strides": "stride",
    "pool_size": "kernel_size",
    "padding": "padding",
    "output_padding": "output_padding",
    "dilation_rate": "dilation",
    "groups": "groups",
    "epsilon": "eps",
    "alpha": "alpha",
    "negative_slope": "negative_slope",
    "rate": "p",
    "units": "out_features",
    "filters": "out_channels",
    "size": "scale_factor",
    "interpolation": "mode",
    "axis": "dim",
    "data_format": "data_format",
    "scale": "scale",
    "offset": "offset",
    "input_dim": "num_embeddings",
    "output_dim": "embedding_dim",
    "max_value": "max_value",
    "cropping": "cropping",
}
_LEAKY = ("alpha", "negative_slope")
_LEAKY_LAYER, _LEAKY_FUNCTION = 0.3, 0.2  # what Keras takes where nothing is said


def parsed(text: str | bytes | None) -> dict[str, Any]:
    """A description as JSON; empty if it is none."""
    if not text or len(text) > _MAX_JSON_BYTES:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def snake(name: str) -> str:
    """A class's name as Keras writes it into paths: Conv2DTranspose, conv2d_transpose."""
    name = re.sub(r"\W+", "", name)[:200]
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def layers_of(config: Any) -> list[dict[str, Any]]:
    """The descriptions of the layers directly in a model; empty for a layer."""
    inner = config.get("config") if isinstance(config, dict) else None
    if isinstance(inner, list):  # Sequential, as old versions wrote it
        found = inner
    else:
        found = inner.get("layers") if isinstance(inner, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def name_of(layer: Mapping[str, Any]) -> str:
    """A layer's own name; "" if it has none."""
    inner = layer.get("config")
    names = (inner.get("name") if isinstance(inner, dict) else None, layer.get("name"))
    return next((name for name in names if isinstance(name, str)), "")


def class_of(layer: Mapping[str, Any]) -> str:
    """The name of its class; "" if it has none."""
    name = layer.get("class_name")
    return name if isinstance(name, str) else ""


def saved_names(config: Any) -> dict[tuple[str, ...], str]:
    """Keras 3's paths of layers, made of classes and counted, to the layers' own names."""
    found: dict[tuple[str, ...], str] = {}

    def walk(model: Any, path: tuple[str, ...]) -> None:
        counted: dict[str, int] = {}
        for layer in layers_of(model):
            if len(found) > _MAX_LAYERS or len(path) > _MAX_DEPTH:
                return
            class_ = snake(class_of(layer))
            n = counted.get(class_, 0)
            counted[class_] = n + 1
            here = (*path, f"{class_}_{n}" if n else class_)
            found[here] = name_of(layer) or here[-1]
            walk(layer, here)

    walk(config, ())
    return found


def facts_of(config: Any) -> dict[str, LayerFacts]:
    """The layers of a model by path, in order; an activation within a layer follows it.

    `reads` among a layer's values names the layers that it reads, where the file says so.
    """
    found: dict[str, LayerFacts] = {}

    def walk(model: Any, path: str, depth: int) -> None:
        for layer in layers_of(model):
            if len(found) > _MAX_LAYERS or depth > _MAX_DEPTH:
                return
            name = name_of(layer) or snake(class_of(layer))
            here = f"{path}.{name}" if path else name
            if layers_of(layer):
                walk(layer, here, depth + 1)
                continue
            inner = layer.get("config")
            inner = inner if isinstance(inner, dict) else {}
            reads = [f"{path}.{other}" if path else other for other in _sources(layer)]
            values = _values(class_of(layer), inner) | ({"reads": tuple(reads)} if reads else {})
            if class_of(layer) in ("Activation", "TFOpLambda", "Function"):
                activation = _activation(inner.get("activation"))
                if activation is not None:
                    found[here] = LayerFacts(activation.kind, {**activation.values, **values})
                    continue
            kind = _KINDS.get(class_of(layer), class_of(layer))
            found[here] = LayerFacts(kind, values)
            activation = _activation(inner.get("activation"))
            if activation is not None:
                found[f"{here}.activation"] = activation

    models = [config] if layers_of(config) else list(_models_in(config))
    for model in models:
        walk(model, "" if model is config else name_of(model), 0)
    return found


def _models_in(config: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The models that a class of a person's own was made of: its encoder and its decoder."""
    if depth > 3 or not isinstance(config, dict):
        return
    for value in config.values():
        if isinstance(value, dict) and layers_of(value):
            yield value
        elif isinstance(value, dict):
            yield from _models_in(value, depth + 1)


def _activation(said: Any) -> LayerFacts | None:
    """The activation that a layer's description names; None for the linear one."""
    values: dict[str, Any] = {}
    if isinstance(said, dict):
        inner = said.get("config")
        values = _values(class_of(said), inner) if isinstance(inner, dict) else {}
        said = inner if isinstance(inner, str) else class_of(said)
    if not isinstance(said, str) or said in ("", "linear"):
        return None
    kind = _KINDS.get(said) or ACTIVATIONS.get(snake(said), said)
    if kind == "LeakyReLU" and "negative_slope" not in values:
        values["negative_slope"] = _LEAKY_FUNCTION
    return LayerFacts(kind, values)


def _values(class_: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's settings in torch's words; sizes of images as (C, H, W)."""
    values = {}
    for key, name in _SETTINGS.items():
        value = _plain(config.get(key))
        if value is not None:
            values[name] = value
    if class_ == "LeakyReLU":
        slope = next((v for key in _LEAKY if (v := _number(config.get(key))) is not None), None)
        values.pop("alpha", None)
        values["negative_slope"] = _LEAKY_LAYER if slope is None else slope
    if class_ in ("GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        values["output_size"] = (1, 1)
    if class_ == "BatchNormalization":
        values |= {key: config[key] for key in ("center", "scale") if config.get(key) is False}
    for key in ("target_shape", "batch_shape", "batch_input_shape"):
        shape = config.get(key)
        if isinstance(shape, list) and all(n is None or isinstance(n, int) for n in shape):
            shape = shape if key == "target_shape" else shape[1:]
            first = config.get("data_format") == "channels_first"
            values["shape"] = tuple(shape if first or len(shape) != 3 else [shape[2], *shape[:2]])
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value) if all(isinstance(v, int | float | list) for v in value) else None
    return value if isinstance(value, bool | int | float | str) else None


def _number(value: Any) -> float | None:
    """A number, also as old versions wrote arrays of one: {"value": 0.3}."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = value.get("value", inner.get("value") if isinstance(inner, dict) else None)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _sources(layer: Mapping[str, Any]) -> list[str]:
    """The names of the layers that it reads, in the first place where it is used."""
    nodes = layer.get("inbound_nodes")
    found: list[str] = []

    def look(value: Any, depth: int) -> None:
        if depth > 8 or len(found) > 20:
            return
        if isinstance(value, dict):
            history = value.get("keras_history")
            look(history if history is not None else list(value.values()), depth + 1)
        elif isinstance(value, list):
            if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
                found.append(value[0])
            else:
                for inner in value[:50]:
                    look(inner, depth + 1)

    if isinstance(nodes, list) and nodes:
        look(nodes[0], 0)
    return list(dict.fromkeys(found))
