"""Models in several files: an encoder's and a decoder's, and shards."""

import json

import pytest
import safetensors.torch
import torch
from formats.hostile_files import refusal
from formats.state_dicts import examples_vae
from formats.wholes import whole

from vae import formats
from vae.formats.containers import pairs, tensors
from vae.runs.checkpoint import CheckpointError


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        ("encoder.pt", "decoder.pt"),
        ("vae_enc.pth", "vae_dec.pth"),
        ("Encoder-12.pth.tar", "Decoder-12.pth.tar"),
    ],
)
@pytest.mark.parametrize("as_modules", [True, False])
def test_two_files_are_one_model(tmp_path, encoder, decoder, as_modules):
    model = whole()
    for name, part in ((encoder, model.encoder), (decoder, model.decoder)):
        torch.save(part if as_modules else part.state_dict(), tmp_path / name)
    assert pairs.decoder_of(tmp_path / encoder) == tmp_path / decoder
    assert pairs.encoder_of(tmp_path / decoder) == tmp_path / encoder
    assert pairs.decoder_of(tmp_path / decoder) is None
    survey = pairs.survey_pair(tmp_path / encoder, tmp_path / decoder)
    found, state = survey.load(), model.state_dict()
    assert set(found) == {name for name, t in state.items() if t.is_floating_point()}
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())
    assert survey.more_files == (tmp_path / decoder,)
    assert ("encoder.act" in survey.modules) == as_modules


def mlp() -> dict[str, torch.nn.Module]:
    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = torch.nn.Linear(784, 12)
            self.mu, self.logvar = torch.nn.Linear(12, 2), torch.nn.Linear(12, 2)

    linear = torch.nn.Linear
    return {"encoder": Encoder(), "decoder": torch.nn.Sequential(linear(2, 12), linear(12, 784))}


def test_the_folder_of_two_files_is_opened_and_both_are_hashed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name, part in mlp().items():
        torch.save(part.state_dict(), folder / f"{name}.pt")
    for path in (folder, folder / "encoder.pt"):
        run = formats.open_run(path)
        assert run.load_model().config.latent_dim == 2
        assert run.more_files == (folder / "decoder.pt",)
    before = run.fingerprint()
    torch.save(mlp()["decoder"].state_dict(), folder / "decoder.pt")
    assert run.fingerprint() != before
    runs, broken = formats.list_runs(folder)
    assert ([found.name for found in runs], broken) == (["encoder.pt"], {})


def test_a_decoder_that_changes_after_the_look_is_refused(tmp_path):
    for name, part in mlp().items():
        torch.save(part.state_dict(), tmp_path / f"{name}.pt")
    survey = pairs.survey_pair(tmp_path / "encoder.pt", tmp_path / "decoder.pt")
    torch.save({"0.weight": torch.zeros(3, 2)}, tmp_path / "decoder.pt")
    with pytest.raises(CheckpointError, match="changed"):
        survey.load()


def sharded(folder, state: dict[str, torch.Tensor], n: int = 3) -> dict[str, str]:
    places = {name: f"model-{i % n + 1:05}-of-{n:05}.safetensors" for i, name in enumerate(state)}
    for shard in set(places.values()):
        part = {name: state[name] for name, place in places.items() if place == shard}
        safetensors.torch.save_file(part, folder / shard)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return places


def test_shards_are_one_model(tmp_path):
    state = dict(examples_vae())
    sharded(tmp_path, state)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        run = formats.open_run(path)
        assert len(run.more_files) == 3
        assert torch.equal(run.load_model().encoder.mu.weight, state["fc21.weight"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda index, _: index["weight_map"].update(x="../secret.safetensors"), "not beside it"),
        (lambda index, _: index["weight_map"].update(x="none.safetensors"), "not beside it"),
        (lambda index, _: index.update(weight_map=3), "does not say"),
        (lambda index, _: index.update(weight_map={}), "of 0 shards"),
        (lambda index, place: index["weight_map"].update(x=place), "in none of them"),
        (lambda index, _: index.clear(), "damaged"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, change, sentence):
    place = sharded(tmp_path, dict(examples_vae()))["fc1.weight"]
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index, place)
    path.write_text(json.dumps(index))
    assert sentence in refusal(path)
    assert tensors.is_weights(path)
