"""Uploaded checkpoints: one visitor's alone until kept, and nothing is ever replaced."""

import gc
import io
import pickle
from pathlib import Path

import pytest
import torch

from vae import checkpoint, formats, uploads, workbench
from vae.checkpoint import CheckpointError
from vae.model import VAE
from vae.uploads import Uploads


@pytest.fixture(autouse=True)
def checkpoints(tmp_path, monkeypatch) -> Path:
    """The server's folder, and the one for what is uploaded."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("VAE_CHECKPOINTS", str(folder))
    monkeypatch.setattr(uploads.tempfile, "tempdir", str(tmp_path / "temporary"))
    return folder


def held(tmp_path: Path) -> list[Path]:
    """Every file that uploads have left on disk."""
    return [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()]


def file(name: str, data: bytes) -> io.BytesIO:
    found = io.BytesIO(data)
    found.name = name
    return found


def saved(values: object) -> bytes:
    stream = io.BytesIO()
    torch.save(values, stream)
    return stream.getvalue()


def state(D: int = 2, width: int = 16, pixels: int = 64) -> dict[str, torch.Tensor]:
    """Weights as pytorch/examples' script names them."""
    generator = torch.Generator().manual_seed(D)
    sizes = {
        "fc1": (width, pixels),
        "fc21": (D, width),
        "fc22": (D, width),
        "fc3": (width, D),
        "fc4": (pixels, width),
    }
    found = {}
    for name, (rows, columns) in sizes.items():
        found[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) / columns**0.5
        found[f"{name}.bias"] = torch.zeros(rows)
    return found


def weights(name: str = "vae.pt", **sizes: int) -> io.BytesIO:
    return file(name, saved(state(**sizes)))


def folder_of(run: checkpoint.Run) -> list[io.BytesIO]:
    return [file(path.name, path.read_bytes()) for path in run.path.iterdir() if path.is_file()]


def test_weights_are_opened_as_those_of_the_server_are():
    mine = Uploads()
    run = mine.add([weights(D=3)])
    assert run.name == "vae.pt (yours)"
    assert run.card.format == "pytorch/examples"
    x = torch.rand(2, 1, 8, 8)
    mu, _ = run.load_model().encode(x)
    values = state(D=3)
    hidden = torch.relu(x.flatten(1) @ values["fc1.weight"].T + values["fc1.bias"])
    torch.testing.assert_close(mu, hidden @ values["fc21.weight"].T + values["fc21.bias"])


def test_a_run_of_ours_comes_with_its_map(tiny_run, tmp_path):
    original = tiny_run(tmp_path / "mine")
    mine = Uploads()
    run = mine.add(folder_of(original))
    assert isinstance(run, checkpoint.Run)
    assert run.model_config == original.model_config
    assert run.load_embedding() is not None
    assert run.load_metrics() == original.load_metrics()


def test_nobody_else_sees_it(checkpoints):
    mine, yours = Uploads(), Uploads()
    run = mine.add([weights()])
    assert formats.list_runs() == ([], {})
    assert yours.runs == {}
    with pytest.raises(CheckpointError, match="no upload named"):
        yours.keep(run.name, "stolen")
    yours.remove(run.name)
    assert run.load_model()
    assert run.path.parent.parent.stat().st_mode & 0o077 == 0  # not even on the server's disk


def test_two_of_one_name_are_two():
    mine = Uploads()
    names = [mine.add([weights(D=D)]).name for D in (2, 3)]
    assert names == ["vae.pt (yours)", "vae.pt 2 (yours)"]
    assert [run.model_config.latent_dim for run in mine.runs.values()] == [2, 3]


def test_it_is_gone_when_it_is_removed_and_when_the_visit_ends(tmp_path):
    mine = Uploads()
    mine.remove(mine.add([weights()]).name)
    assert (mine.runs, held(tmp_path)) == ({}, [])
    mine.add([weights()])
    assert held(tmp_path)
    del mine
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_is_kept_is_everybodys_and_the_same(checkpoints, tmp_path):
    mine = Uploads()
    before = mine.add([weights()]).load_model()
    path = mine.keep("vae.pt (yours)", "lecture-3")
    assert path == checkpoints / "lecture-3"
    assert (mine.runs, held(tmp_path)) == ({}, [])
    (run,), broken = formats.list_runs()
    assert (run.name, broken) == ("lecture-3", {})
    torch.testing.assert_close(run.load_model().state_dict(), before.state_dict())


@pytest.mark.parametrize("name", ["taken", "", "../outside", "a/b", "<b>x</b>", "x" * 80, "a..b"])
def test_a_name_that_cannot_be_used_leaves_all_as_it_was(name, checkpoints, tiny_run):
    taken = tiny_run(checkpoints / "taken")
    before = {path: path.read_bytes() for path in taken.path.iterdir() if path.is_file()}
    mine = Uploads()
    run = mine.add([weights()])
    with pytest.raises(CheckpointError, match=r"name|exists already"):
        mine.keep(run.name, name)
    assert {path: path.read_bytes() for path in before} == before
    assert list(checkpoints.iterdir()) == [taken.path]
    assert mine.runs == {run.name: run}


def test_of_two_who_keep_the_same_name_one_is_told(checkpoints, monkeypatch):
    mine, yours = Uploads(), Uploads()
    first, second = mine.add([weights(D=2)]), yours.add([weights(D=3)])
    mine.keep(first.name, "best")
    # As if the other had looked for the name a moment before.
    real, looked = checkpoint.check_free, []
    monkeypatch.setattr(
        uploads.checkpoint, "check_free", lambda p: real(p) if looked else looked.append(p)
    )
    with pytest.raises(CheckpointError, match="exists already"):
        yours.keep(second.name, "best")
    assert formats.open_run(checkpoints / "best").model_config.latent_dim == 2
    assert [path.name for path in checkpoints.iterdir()] == ["best"]


def test_only_who_kept_it_may_take_it_back(checkpoints):
    mine, yours = Uploads(), Uploads()
    path = mine.keep(mine.add([weights()]).name, "best")
    yours.discard(path)
    assert path.is_dir()
    assert (mine.kept(), yours.kept()) == ([path], [])
    mine.discard(path)
    assert list(checkpoints.iterdir()) == []


def test_what_ships_and_what_was_uploaded_cannot_be_renamed_or_deleted(
    checkpoints, tiny_run, tmp_path
):
    mine = Uploads()
    kept = mine.keep(mine.add(folder_of(tiny_run(tmp_path / "mine"))).name, "kept")
    shipped = tiny_run(checkpoints / "digits-2d").path
    for path in (kept, shipped):
        with pytest.raises(CheckpointError, match="cannot be renamed from here"):
            workbench.rename(path, "other")
        with pytest.raises(CheckpointError, match="cannot be deleted from here"):
            workbench.discard(path)
        assert checkpoint.open_run(path)


def test_every_checkpoint_that_ships_is_protected():
    shipped = Path(__file__).resolve().parents[1] / "checkpoints"
    names = {path.name for path in shipped.iterdir() if (path / "README.md").exists()}
    assert names
    assert all(uploads.is_protected(shipped / name) for name in names)


def test_what_else_lies_in_the_folder_is_left_out(tmp_path):
    mine = Uploads()
    mine.add([file("README.md", b"<script>"), weights(), file("run.exe", b"MZ")])
    assert [path.name for path in held(tmp_path)] == ["vae.pt"]


def test_a_trainings_state_is_not_taken(tiny_run, tmp_path):
    original = tiny_run(tmp_path / "mine")
    mine = Uploads()
    run = mine.add([*folder_of(original), file("trainer.safetensors", b"anything")])
    assert run.load_trainer() is None


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "m.bin", "m.ckpt", "m.safetensors"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(name, whole, tmp_path):
    evil = Evil(tmp_path / "created")
    data = pickle.dumps(evil) if whole else saved(state() | {"extra": evil})
    mine = Uploads()
    with pytest.raises(CheckpointError):
        mine.add([file(name, data)])
    assert not evil.path.exists()
    assert held(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "no file of weights"),
        ([file("notes.txt", b"x")], "no file of weights"),
        ([file("model_config.json", b"{}")], "no file of weights"),
        ([file("m.pt", b""), file("m.pt", b"")], "two files are called"),
        ([file("m.pt", b"")], "neither a safetensors file nor one that torch.save wrote"),
        ([file("m.pt", saved(state())[:-2000])], "damaged"),
        ([file("m.pt", saved({"a": torch.zeros(3)}))], "of no known format"),
        ([file("m.safetensors", b"\xff" * 100)], "neither"),
        ([file("m.pt", saved(state() | {"fc4.bias": torch.full((64,), torch.nan)}))], "NaN"),
    ],
)
def test_what_is_no_checkpoint_is_a_sentence_and_leaves_nothing(files, sentence, tmp_path):
    mine = Uploads()
    with pytest.raises(CheckpointError, match=sentence) as error:
        mine.add(files)
    assert str(tmp_path) not in str(error.value)  # the server's folders are nobody's business
    assert (mine.runs, held(tmp_path)) == ({}, [])


@pytest.mark.parametrize(
    "name", ["../../outside.pt", "/etc/passwd.pt", "..\\x.pt", "<img src=x>.pt", "a\0b.pt", ".pt"]
)
def test_no_name_leads_out_of_the_visitors_folder(name, tmp_path):
    before = set(tmp_path.rglob("*"))
    mine = Uploads()
    try:
        run = mine.add([weights(name)])
    except CheckpointError:
        assert set(tmp_path.rglob("*")) - before == {mine._root}
    else:
        assert run.path.is_relative_to(mine._root)
        assert not set("<>/\\\0") & set(run.name)


def test_limits(monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "MAX_BYTES", 3000)
    mine, yours = Uploads(), Uploads()
    with pytest.raises(CheckpointError, match="at most 3,000"):
        mine.add([weights()])
    assert held(tmp_path) == []
    monkeypatch.setattr(uploads, "MAX_BYTES", 10**6)
    monkeypatch.setattr(uploads, "MAX_OF_VISITOR", 1)
    mine.add([weights()])
    with pytest.raises(CheckpointError, match="remove one"):
        mine.add([weights()])
    monkeypatch.setattr(uploads, "MAX_HELD_BYTES", 20_000)
    with pytest.raises(CheckpointError, match="as many uploads as it can"):
        yours.add([weights(width=64)])
    mine.remove("vae.pt (yours)")
    assert yours.add([weights()])


def test_a_full_folder_of_checkpoints_takes_no_more(checkpoints, monkeypatch):
    mine = Uploads()
    run = mine.add([weights()])
    monkeypatch.setattr(uploads, "MAX_FOLDER_BYTES", 100)
    with pytest.raises(CheckpointError, match="holds 100 bytes already"):
        mine.keep(run.name, "best")
    assert (list(checkpoints.iterdir()), list(mine.runs)) == ([], [run.name])


def test_a_folder_that_cannot_be_written_is_a_sentence(monkeypatch, tmp_path):
    mine = Uploads()
    run = mine.add([weights()])
    (tmp_path / "a file").touch()
    monkeypatch.setenv("VAE_CHECKPOINTS", str(tmp_path / "a file" / "checkpoints"))
    with pytest.raises(CheckpointError, match="cannot write"):
        mine.keep(run.name, "best")
    assert isinstance(mine.runs[run.name].load_model(), VAE)
