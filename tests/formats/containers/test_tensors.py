"""Tensors out of any container."""

import pytest
import safetensors.torch
import torch
from formats.state_dicts import examples_vae, opened

from vae.formats.containers import tensors
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_any_precision_in_any_container_is_read_as_float32(tmp_path, dtype, container):
    state = {name: tensor.to(dtype) for name, tensor in examples_vae().items()}
    path = tmp_path / "weights.pt"
    if container == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=container == "zip")
    _, model = opened(path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.encoder.mu.weight, state["fc21.weight"].float())


def test_parameters_and_shared_views_are_read_too(tmp_path):
    state = {name: torch.nn.Parameter(tensor) for name, tensor in examples_vae().items()}
    whole = torch.randn(40, 12)
    state["fc21.weight"], state["fc22.weight"] = whole[:3], whole[3:6]
    torch.save(state, tmp_path / "weights.pt")
    _, model = opened(tmp_path / "weights.pt")
    assert torch.equal(model.encoder.logvar.weight, whole[3:6])


def test_a_survey_reads_no_weights(tmp_path):
    torch.save(dict(examples_vae()), tmp_path / "weights.pt")
    survey = tensors.survey(tmp_path / "weights.pt")
    assert survey.shapes["fc1.weight"] == (12, 784)
    assert survey.container == "torch.save"
    assert checkpoint.CheckpointError is CheckpointError
