"""Makes a checkpoint in the layout of each line of a list, and of each variant of our own.

    python tests/wild/make.py layouts.jsonl FOLDER [key ...]

FOLDER then holds a folder for each, with the file and `expected.json`: what the class that made it
says of two hundred test images, or why the file should be refused. What is there already is kept;
of layouts that are the same in everything one is trained, and the others are copies of it.
`python -m vae bench wild FOLDER` measures against it.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(here), str(here.parent)]

from wild import files, layouts, onnx_files, tables, training
from wild.layouts import Layout
from wild.networks import Author, Recipe
from wild.recipes import RECIPES
from wild.training import Length
from wild.variants import VARIANTS
from wild.variants_in_files import IN_FILES, OTHERS

from vae.data.dataset import Dataset

EXPECTED, ARRAYS = "expected.json", "arrays.safetensors"
# What a refusal must speak of, by what the file is.
REASONS = {
    "sequence": "LSTM|GRU|recurrent|sequence|inputs",
    "VQ": "VQ|codebook|quanti",
    "AE without variance": "variance|autoencoder|no Gaussian q|one head|single head",
    "not a VAE": "variance|logvar|Gaussian",
    "classifier": "classifier|no decoder|decoder|nothing that gives an image",
    "dirichlet": "Dirichlet|alpha|heads",
    "table": r"table|not an image|no image|image shape|no square|\bnumbers\b",
}


def make(layout: Layout, recipe: Recipe | None, folder: Path, length: Length) -> dict[str, Any]:
    """Makes one checkpoint.

    Args:
        layout: of the file.
        recipe: of its network; None for what is no image model with a Gaussian q.
        folder: for it and for `expected.json`; what was in there is gone.
        length: of the training.

    Returns:
        What `expected.json` says.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    facts: dict[str, Any] = {
        "key": layout.key,
        "container": layout.container,
        "kind": kind_of(layout),
    }
    if recipe is None:
        torch.manual_seed(0)
        path = _write_other(layout, folder)
        facts |= {"expect": "refused", "reason": _reason(layout)}
    else:
        author = Author(layout.torch_shapes(), recipe)
        training.train(author, length, seed=sum(map(ord, layout.key)))
        path, facts = (
            _write_trained(layout, author, folder),
            facts | _expect(layout, author, folder),
        )
    facts["file"] = path.name
    (folder / EXPECTED).write_text(json.dumps(facts, indent=1))
    return facts


def _write_trained(layout: Layout, author: Author, folder: Path) -> Path:
    path = folder / "model"
    if layout.container == "ONNX" and layout.kind == "decoder only":
        return onnx_files.save_decoder(author, path, last=True)
    if layout.container == "ONNX":
        return onnx_files.save_pair(author, path)
    state = author.net.state_dict()
    if layout.kind == "decoder only":
        used = {word.partition("^")[0] for word in author.recipe.decoder.split()}
        state = {name: v for name, v in state.items() if name.rpartition(".")[0] in used}
    if any(name == "test_loss" for name, _ in layout.tensors) and layout.container == "state dict":
        state["test_loss"] = torch.tensor(0.5)
    return files.write(path, layout, state, author)


@torch.no_grad()
def _expect(layout: Layout, author: Author, folder: Path) -> dict[str, Any]:
    recipe = author.recipe
    if layout.container in ("float16", "bfloat16"):  # what is in the file is rounded
        author.net.to(getattr(torch, layout.container)).float()
    values, arrays = training.expected(author)
    images = training.data(recipe.dataset, recipe.shape, "test", training.N_TEST)
    shared = folder.parent / "images"
    shared.mkdir(exist_ok=True)
    of_images = shared / f"{recipe.dataset}-{'x'.join(map(str, recipe.shape))}.safetensors"
    if not of_images.exists():
        save_file(_shown(recipe, images), of_images)
    save_file(arrays, folder / ARRAYS)
    found: dict[str, Any] = {
        "expect": "decoder" if layout.kind == "decoder only" else "right",
        "images": f"../images/{of_images.name}",
        "dataset": recipe.dataset,
        "n_classes": recipe.n_classes,
        "truth": {
            "second head": f"{recipe.meaning} {recipe.fused}".strip(),
            "output": recipe.output.partition("@")[0],
            "input": str(recipe.pixels),
            "encoder": recipe.encoder,
            "mu": recipe.mu,
            "second": recipe.second,
            "decoder": recipe.decoder,
        },
        "constant": training.constant(author),
    }
    return found | values


def _shown(recipe: Recipe, images: Dataset) -> dict[str, Tensor]:
    """What a file is shown on: images, or a table with what is known of its columns."""
    if not recipe.dataset.startswith("table"):
        return {"images": images.images, "labels": images.labels}
    table = tables.table(recipe.shape[2], "test")
    columns = torch.tensor([[f.mean, f.scale, f.low, f.high] for f in table.features])
    return {"images": table.images, "labels": table.labels, "columns": columns}


def kind_of(layout: Layout) -> str:
    """Plain or conditional (image models with a Gaussian q), decoder only, or what it is else."""
    if layout.modality in ("sequence", "image") and layout.q != "gaussian":
        return "no Gaussian q"
    if layout.modality == "image":
        return layout.kind.replace("conditional decoder", "conditional")
    return "sequence" if layout.modality == "sequence" else "table, curve, sound"


def _reason(layout: Layout) -> str:
    for kind in ("sequence", "VQ", "AE without variance", "not a VAE", "classifier"):
        if layout.kind.startswith(kind):
            return REASONS[kind]
    if layout.q == "dirichlet":
        return REASONS["dirichlet"]
    if layout.modality == "sequence":
        return REASONS["sequence"]
    return REASONS["table"]


def _write_other(layout: Layout, folder: Path) -> Path:
    path = folder / "model"
    if layout.container == "ONNX":
        if layout.kind == "decoder only":
            return onnx_files.save_curve(path)
        return (onnx_files.save_sequence if layout.q != "none" else onnx_files.save_code)(path)
    state: dict[str, Tensor] = {}
    for name, shape in layout.torch_shapes().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(100)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape) + 0.5
        else:
            fan_in = max(int(np.prod(shape[1:])), 1)
            state[name] = torch.randn(shape) / fan_in**0.5
    return files.write(path, layout, state)


# The list says of this file what goes in and out of it, not its weights: these would be such.
DECODER_148 = {
    "enc.weight": (128, 3072),
    "enc.bias": (128,),
    "mu.weight": (2, 128),
    "mu.bias": (2,),
    "lv.weight": (2, 128),
    "lv.bias": (2,),
    "fc1.weight": (128, 2),
    "fc1.bias": (128,),
    "fc2.weight": (1024, 128),
    "fc2.bias": (1024,),
    "up1.weight": (64, 32, 4, 4),
    "up1.bias": (32,),
    "up2.weight": (32, 16, 4, 4),
    "up2.bias": (16,),
    "up3.weight": (16, 3, 4, 4),
    "up3.bias": (3,),
}
RECIPE_148 = Recipe(
    "enc relu",
    "mu",
    "lv",
    "fc1 relu fc2 relu to:64x4x4 up1^s2p1 relu up2^s2p1 relu up3^s2p1",
    shape=(3, 32, 32),
    loss="mse",
)


def everything(path: Path) -> Iterable[tuple[str, Layout, Recipe | None]]:
    """Name of the folder, layout and recipe, of the list and of the variants."""
    for layout in layouts.read(path):
        number = int(layout.key)
        recipe = RECIPES.get(number)
        if number == 148:
            args = (layout.key, "ONNX", layout.kind, "image", "gaussian")
            layout, recipe = Layout(*args, tuple(DECODER_148.items())), RECIPE_148
        elif recipe is None and layout.modality == "image" and layout.q == "gaussian":
            raise SystemExit(f"no recipe says what the code of layout {number} does: {layout}")
        yield f"layout-{number:03}", layout, recipe
    for key, (layout, recipe) in (VARIANTS | IN_FILES).items():
        yield f"variant-{key}", layout, recipe
    for key, layout in OTHERS.items():
        yield f"variant-{key}", layout, None


def main(arguments: list[str]) -> None:
    """Makes what is not there; with keys, those again."""
    path, folder, *keys = arguments
    torch.set_num_threads(1)
    made: dict[tuple, Path] = {}
    for name, layout, recipe in everything(Path(path)):
        if keys and name not in keys:
            continue
        place = Path(folder) / name
        same = layout.container, layout.tensors, recipe
        twin = made.setdefault(same, place) if recipe else place
        if twin != place:  # the same file again
            if not place.exists():
                shutil.copytree(twin, place)
            continue
        if keys or not (place / EXPECTED).exists():
            started = time.perf_counter()
            found = make(layout, recipe, place, Length())
            values = [f"{k} {found[k]:.2f}" for k in ("kl", "nll", "squared") if k in found]
            if "constant" in found:
                values.append(f"of the mean image {found['constant']:.2f}")
            seconds = time.perf_counter() - started
            print(f"{name} {layout.container}: {', '.join(values)} ({seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
