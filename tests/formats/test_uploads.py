"""Uploaded checkpoints: one visitor's alone until kept, and nothing is ever replaced."""

import gc
import io
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from vae import formats
from vae.core.model import VAE
from vae.formats import uploads
from vae.formats.uploads import Uploads
from vae.runs import checkpoint, folders, queue
from vae.runs.checkpoint import CheckpointError
from vae.runs.status import read_status


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
    """Every file that uploads have left on disk, but the locks."""
    found = (tmp_path / "temporary").rglob("*")
    return [path for path in found if path.is_file() and not path.name.endswith(".lock")]


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
    mine = Uploads(10**8)
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
    mine = Uploads(10**8)
    run = mine.add(folder_of(original))
    assert isinstance(run, checkpoint.Run)
    assert run.model_config == original.model_config
    assert run.load_embedding() is not None
    assert run.load_metrics() == original.load_metrics()


def test_nobody_else_sees_it(checkpoints):
    mine, yours = Uploads(10**8), Uploads(10**8)
    run = mine.add([weights()])
    assert formats.list_runs() == ([], {})
    assert yours.runs == {}
    with pytest.raises(CheckpointError, match="no upload named"):
        yours.keep(run.name, "stolen")
    yours.remove(run.name)
    assert run.load_model()
    assert run.path.parent.parent.stat().st_mode & 0o077 == 0  # not even on the server's disk


def test_two_of_one_name_are_two():
    mine = Uploads(10**8)
    names = [mine.add([weights(D=D)]).name for D in (2, 3)]
    assert names == ["vae.pt (yours)", "vae.pt 2 (yours)"]
    assert [run.model_config.latent_dim for run in mine.runs.values()] == [2, 3]


def test_it_is_gone_when_it_is_removed_and_when_the_visit_ends(tmp_path):
    mine = Uploads(10**8)
    mine.remove(mine.add([weights()]).name)
    assert (mine.runs, held(tmp_path)) == ({}, [])
    mine.add([weights()])
    assert held(tmp_path)
    del mine
    gc.collect()
    assert not list((tmp_path / "temporary").glob("elbo-room-*"))


def test_what_is_kept_is_everybodys_and_the_same(checkpoints, tmp_path):
    mine = Uploads(10**8)
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
    mine = Uploads(10**8)
    run = mine.add([weights()])
    with pytest.raises(CheckpointError, match=r"name|exists already"):
        mine.keep(run.name, name)
    assert {path: path.read_bytes() for path in before} == before
    assert list(checkpoints.iterdir()) == [taken.path]
    assert mine.runs == {run.name: run}


def test_of_two_who_keep_the_same_name_one_is_told(checkpoints, monkeypatch):
    mine, yours = Uploads(10**8), Uploads(10**8)
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
    mine, yours = Uploads(10**8), Uploads(10**8)
    path = mine.keep(mine.add([weights()]).name, "best")
    yours.discard(path)
    assert path.is_dir()
    assert (mine.kept(), yours.kept()) == ([path], [])
    mine.discard(path)
    assert list(checkpoints.iterdir()) == []


def test_what_ships_and_what_was_uploaded_cannot_be_renamed_or_deleted(
    checkpoints, tiny_run, tmp_path
):
    mine = Uploads(10**8)
    kept = mine.keep(mine.add(folder_of(tiny_run(tmp_path / "mine"))).name, "kept")
    shipped = tiny_run(checkpoints / "digits-2d").path
    for path in (kept, shipped):
        with pytest.raises(CheckpointError, match="cannot be renamed from here"):
            folders.rename(path, "other")
        with pytest.raises(CheckpointError, match="cannot be deleted from here"):
            folders.discard(path)
        assert checkpoint.open_run(path)


def test_what_else_lies_in_the_folder_is_left_out(tmp_path):
    mine = Uploads(10**8)
    mine.add([file("README.md", b"<script>"), weights(), file("run.exe", b"MZ")])
    assert [path.name for path in held(tmp_path)] == ["vae.pt"]


def zipped(files: dict[str, bytes], name: str = "mine.zip") -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return file(name, stream.getvalue())


def test_a_folder_and_a_zip_of_one_are_taken(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "mine")
    sent = {f"a/mine/{p.name}": p.read_bytes() for p in run.path.iterdir() if p.is_file()}
    sent |= {"a/notes.txt": b"x", "a/mine/deeper/model.pt": b"x", "a/..\\x": b"x"}
    mine = Uploads(10**8)
    for files in ([file(*item) for item in sent.items()], [zipped(sent)]):
        assert mine.add(files).model_config == run.model_config
    whole = file("vae.zip", weights().getvalue())  # what torch.save wrote is a zip archive, too
    assert mine.add([whole]).card.format == "pytorch/examples"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "no file of weights"),
        ({"README.md": b"x", "../../x.txt": b"x"}, "no file of weights"),
        ({"a/m.pt": b"", "b/m.pt": b""}, "is an empty file"),
        ({"m.pt": bytes(4 * 10**6)}, "at most 3,000,000"),  # that is 4 kB in the archive
    ],
)
def test_a_zip_without_a_checkpoint_is_a_sentence(files, sentence, tmp_path):
    mine = Uploads(3 * 10**6)
    with pytest.raises(CheckpointError, match=sentence):
        mine.add([zipped(files)])
    with pytest.raises(CheckpointError, match="damaged"):
        mine.add([file("x.zip", zipped(files).getvalue()[:-30])])
    assert held(tmp_path) == []


def test_uploads_outlive_a_session_for_a_while(monkeypatch):
    first = uploads.Visit.begun(10**8)
    root, token = first.uploads._root, first.token
    run = first.uploads.add([weights()])
    assert uploads.Visit.again("another") is None
    del first
    gc.collect()
    second = uploads.Visit.again(token)
    assert second is not None
    assert list(second.uploads.runs) == [run.name]
    monkeypatch.setattr(uploads, "LINGERS_S", -1.0)
    assert uploads.Visit.again(token) is not None  # it is still there
    del second
    gc.collect()
    assert uploads.Visit.again(token) is None
    gc.collect()
    assert not root.exists()


def test_a_trainings_state_is_not_taken(tiny_run, tmp_path):
    original = tiny_run(tmp_path / "mine")
    mine = Uploads(10**8)
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
    mine = Uploads(10**8)
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
        ([file("m.pt", b""), file("m.pt", b"")], "two files called 'm.pt'"),
        ([file("m.pt", b"")], "is an empty file"),
        ([file("m.pt", saved(state())[:-2000])], "damaged"),
        ([file("m.pt", saved({"a": torch.zeros(3)}))], "of no known format"),
        ([file("m.safetensors", b"\xff" * 100)], "is a file of bytes"),
        ([file("m.pt", saved(state() | {"fc4.bias": torch.full((64,), torch.nan)}))], "NaN"),
    ],
)
def test_what_is_no_checkpoint_is_a_sentence_and_leaves_nothing(files, sentence, tmp_path):
    mine = Uploads(10**8)
    with pytest.raises(CheckpointError, match=sentence) as error:
        mine.add(files)
    assert str(tmp_path) not in str(error.value)  # the server's folders are nobody's business
    assert (mine.runs, held(tmp_path)) == ({}, [])


@pytest.mark.parametrize(
    "name", ["../../outside.pt", "/etc/passwd.pt", "..\\x.pt", "<img src=x>.pt", "a\0b.pt", ".pt"]
)
def test_no_name_leads_out_of_the_visitors_folder(name, tmp_path):
    mine = Uploads(10**8)
    before = set(tmp_path.rglob("*"))
    try:
        run = mine.add([weights(name)])
    except CheckpointError:
        assert set(tmp_path.rglob("*")) == before
    else:
        assert run.path.is_relative_to(mine._root)
        assert not set("<>/\\\0") & set(run.name)


def test_limits(monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "_held", {})  # what other tests hold is not counted
    mine = Uploads(3000)
    with pytest.raises(CheckpointError, match="at most 3,000"):
        mine.add([weights()])
    assert held(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(monkeypatch, tmp_path):
    mine = Uploads(10**8)
    run = mine.add([weights()])
    (tmp_path / "a file").touch()
    monkeypatch.setenv("VAE_CHECKPOINTS", str(tmp_path / "a file" / "checkpoints"))
    with pytest.raises(CheckpointError, match="cannot write"):
        mine.keep(run.name, "best")
    assert isinstance(mine.runs[run.name].load_model(), VAE)


# Servers that are gone.

SERVER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from vae.formats.uploads import Uploads
mine = Uploads(10**8)
(mine._root / "1").mkdir()
(mine._root / "1" / "weights.pt").write_bytes(bytes(1000))
print(mine._root, flush=True)
input()
"""


@pytest.fixture
def server(tmp_path):
    """server() starts another server, with an upload: (its process, the visitor's folder)."""
    begun = []

    def begin() -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, tmp_path / "temporary"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            text=True,
        )
        begun.append(process)
        return process, Path(process.stdout.readline().strip())

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_what_a_killed_server_left_is_deleted_and_what_a_living_one_holds_is_not(server, tmp_path):
    mine = Uploads(10**8)
    run = mine.add([weights()])
    (killed, left), (_, living) = server(), server()
    killed.kill()
    killed.wait()
    assert left.exists()
    (tmp_path / "temporary" / "elbo-room-of-another-program").mkdir()
    yours = Uploads(10**8)
    assert not left.exists()
    assert (living / "1" / "weights.pt").exists()
    assert run.load_model()
    folders = {living, mine._root, yours._root, living.with_name("elbo-room-of-another-program")}
    assert {path for path in (tmp_path / "temporary").iterdir() if path.is_dir()} == folders


def test_visitors_who_come_at_once_do_not_sweep_each_other():
    together, uploads_of = threading.Barrier(12), []

    def come() -> None:
        together.wait()
        uploads_of.append(Uploads(10**8))

    threads = [threading.Thread(target=come) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({mine._root for mine in uploads_of}) == 12
    assert all((mine._root / ".lock").exists() for mine in uploads_of)


def test_how_far_a_training_was_does_not_come_with_an_upload(tiny_run, tmp_path, checkpoints):
    """Or the queue of this server would take it up, and every page would wait for it."""
    run = tiny_run(tmp_path / "run")
    (run.path / "status.json").write_text('{"state": "queued", "updated": 1}')
    files = [file(p.name, p.read_bytes()) for p in run.path.iterdir() if p.is_file()]
    uploads = Uploads(2**30)
    kept = uploads.keep(uploads.add(files).name, "kept")
    assert not (kept / "status.json").exists()
    assert read_status(kept).state == "finished"
    assert queue.queued(checkpoints) == []
