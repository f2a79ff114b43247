import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from filelock import FileLock
from hostile_names import is_text

from vae import cli
from vae.config import BINARISE, SCHEDULES, ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.runs import checkpoint, film, job, lock
from vae.runs.checkpoint import CheckpointError, open_run
from vae.runs.status import read_status
from vae.training.trainer import EpochStats, NonFiniteLoss, Trainer

MODELS = {
    "mlp": ModelConfig((1, 8, 8), hidden=(16,)),
    "conv": ModelConfig((1, 8, 8), family="conv", hidden=(4, 8)),
}
ROOT = Path(__file__).resolve().parents[2]


def numbers(stats: EpochStats) -> tuple:
    """All of an epoch's statistics but the times."""
    return stats.epoch, stats.train, stats.test, stats.beta, stats.lr


def rows_but_times(run: checkpoint.Run) -> list[dict]:
    times = ("seconds", "images_per_s")
    return [{k: v for k, v in row.items() if k not in times} for row in run.load_metrics()]


def pictures(run: checkpoint.Run) -> dict[str, bytes]:
    """Every file of a run's film."""
    return {path.name: path.read_bytes() for path in (run.path / film.FOLDER).iterdir()}


def assert_same(run: checkpoint.Run, unbroken: checkpoint.Run) -> None:
    """Two finished runs hold the same to the bit, but for the times."""
    for found in (run, unbroken):
        assert read_status(found.path).state == "finished"
        assert not (found.path / checkpoint.TRAINER).exists()
    assert run.fingerprint() == unbroken.fingerprint()
    assert rows_but_times(run) == rows_but_times(unbroken)
    assert pictures(run) == pictures(unbroken)
    assert run.load_embedding().recon.tobytes() == unbroken.load_embedding().recon.tobytes()


# Between two epochs.


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        *[("mlp", {"schedule": schedule}) for schedule in SCHEDULES],
        *[("mlp", {"binarise": binarise}) for binarise in BINARISE[1:]],
        ("mlp", {"precision": "bfloat16"}),
        ("mlp", {"weight_average": 0.9}),
        ("mlp", {"weight_average": 0.9, "patience": 2, "learning_rate": 0.1}),
        ("mlp", {"patience": 1, "learning_rate": 0.3, "schedule": "constant"}),
        ("mlp", {"free_bits": 0.5, "kl_warmup": 1.0}),
        ("mlp", {"objective": "iwae", "importance_samples": 3}),
        ("mlp", {"objective": "evidence", "lattice_points": 64, "weight_average": 0.9}),
        ("mlp", {"objective": "best", "lattice_points": 64, "patience": 2, "elbo_share": 0.6}),
        ("mlp", {"max_grad_norm": 0.1}),
        ("conv", {}),
        ("conv", {"precision": "bfloat16", "binarise": "all", "weight_average": 0.5}),
    ],
    ids=str,
)
def test_a_training_put_aside_at_every_epoch_ends_as_an_unbroken_one(tmp_path, family, settings):
    train, test = (catalogue.load("digits", split).images for split in ("train", "test"))
    config = TrainConfig("digits", 5, **{"batch_size": 64, "seed": 3} | settings)

    def begin() -> Trainer:
        model = VAE(MODELS[family], torch.Generator().manual_seed(3))
        return Trainer(model, train[:200], test[:60], config, "cpu")

    unbroken, expected = begin(), []
    while not unbroken.over:
        expected.append(numbers(unbroken.train_epoch()))

    trainer, found = begin(), []
    run = checkpoint.create(tmp_path / "run", MODELS[family], config)
    while not trainer.over:
        found.append(numbers(trainer.train_epoch()))
        checkpoint.save_trainer(run, *trainer.state())
        trainer = begin()
        trainer.restore(*run.load_trainer())
    assert found == expected
    pairs = [(trainer.model, unbroken.model), (trainer.current, unbroken.current)]
    for ours, theirs in pairs:
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor)
    if config.patience == 1:
        assert len(found) < config.epochs  # it was lost once, or else nothing was tried


# A run folder, whose training is ended and taken up.


@pytest.mark.parametrize(
    "settings",
    [{"condition": "label"}, {"binarise": "all", "patience": 2, "learning_rate": 0.1}],
)
def test_a_run_ended_after_every_epoch_and_resumed_ends_as_an_unbroken_one(tmp_path, settings):
    config = TrainConfig("digits", 5, **{"batch_size": 512} | settings)
    list(job.train(tmp_path / "unbroken", MODELS["mlp"], config, "cpu"))
    training = job.train(tmp_path / "run", MODELS["mlp"], config, "cpu")
    for epoch in range(1, 100):
        stats = next(training, None)
        if stats is None:
            break
        assert stats.epoch == epoch
        training.close()
        assert read_status(tmp_path / "run").state == "stopped"
        training = job.resume(tmp_path / "run", "cpu")
    assert_same(open_run(tmp_path / "run"), open_run(tmp_path / "unbroken"))


def test_frames_and_rows_ahead_of_the_trainer_are_made_anew(tmp_path):
    # A kill between the film and trainer.safetensors leaves them so.
    config = TrainConfig("digits", 4, 512)
    list(job.train(tmp_path / "unbroken", MODELS["mlp"], config, "cpu"))
    training = job.train(tmp_path / "run", MODELS["mlp"], config, "cpu")
    next(training)
    early = (tmp_path / "run" / checkpoint.TRAINER).read_bytes()
    next(training)
    training.close()
    run = open_run(tmp_path / "run")
    (run.path / checkpoint.TRAINER).write_bytes(early)
    for name in ("epoch-000002.png", "epoch-000003.png", "epoch-000003.safetensors"):
        (run.path / film.FOLDER / name).write_bytes(b"of a time that is not to be")
    epochs = [stats.epoch for stats in job.resume(run.path, "cpu")]
    assert epochs == [2, 3, 4]
    assert_same(run, open_run(tmp_path / "unbroken"))


def test_the_time_spent_goes_on_counting(tmp_path):
    training = job.train(tmp_path / "run", MODELS["mlp"], TrainConfig("digits", 2, 512), "cpu")
    next(training)
    training.close()
    run = open_run(tmp_path / "run")
    rows = [row | {"seconds": 1000.0} for row in run.load_metrics()]
    checkpoint.save_metrics(run, rows)
    list(job.resume(run.path, "cpu"))
    assert 1000 < read_status(run.path).seconds < 1100


def test_a_run_that_waits_begins_when_it_is_resumed(tmp_path):
    config = TrainConfig("digits", 2, 512)
    job.create(tmp_path / "run", MODELS["mlp"], config)
    assert read_status(tmp_path / "run").state == "queued"
    assert open_run(tmp_path / "run").load_embedding() is None
    list(job.train(tmp_path / "unbroken", MODELS["mlp"], config, "cpu"))
    list(job.resume(tmp_path / "run", "cpu"))
    assert_same(open_run(tmp_path / "run"), open_run(tmp_path / "unbroken"))


def test_a_run_whose_every_epoch_is_done_only_draws_its_map(tmp_path, monkeypatch):
    def die(*_):
        raise SystemExit  # as a kill after the last epoch

    config = TrainConfig("digits", 2, 512)
    with monkeypatch.context() as patch:
        patch.setattr(job, "embed", die)
        with pytest.raises(SystemExit):
            list(job.train(tmp_path / "run", MODELS["mlp"], config, "cpu"))
    assert list(job.resume(tmp_path / "run", "cpu")) == []
    list(job.train(tmp_path / "unbroken", MODELS["mlp"], config, "cpu"))
    assert_same(open_run(tmp_path / "run"), open_run(tmp_path / "unbroken"))


# Killed. The program imports once and forks its trainings, so that many of them cost little.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch._dynamo  # which optimisers import when first used
from vae.runs import checkpoint, film, job
from vae.runs.status import read_status
from vae.data import catalogue
from vae.config import ModelConfig, TrainConfig

root = Path(sys.argv[1])
catalogue.load("digits")  # what is imported here need not be imported again
model = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))
config = TrainConfig("digits", 8, 512, weight_average=0.9, binarise="input")

def fork(begin, *arguments):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for _ in begin(*arguments, "cpu"):
            pass
        code = 0
    finally:
        os._exit(code)

def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

wait(fork(job.train, root / "warm", model, config))
began = time.monotonic()
assert wait(fork(job.train, root / "unbroken", model, config)) == 0
lasts = time.monotonic() - began
moments = random.Random(0)
for i in range(int(sys.argv[2])):
    path = root / f"killed-{i}"
    child = fork(job.train, path, model, config)
    time.sleep(moments.uniform(0, 1.1 * lasts))
    os.kill(child, signal.SIGKILL)
    code = wait(child)
    assert code in (0, -signal.SIGKILL), code
    state = read_status(path).state if path.exists() else "nothing yet"
    print(state, flush=True)
    if not path.exists():
        continue
    run = checkpoint.open_run(path)
    run.load_model()
    run.load_metrics()
    run.load_embedding()
    assert all(frame.epoch <= 8 for frame in film.frames(run))
    if state == "finished":
        lasts *= 0.8  # the machine has become faster
        continue
    assert state == "interrupted", state
    assert wait(fork(job.resume, path)) == 0
"""


@pytest.mark.parametrize("n_kills", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_instant_can_be_resumed_to_the_same_end(tmp_path, python, n_kills):
    finished = python("-c", KILLER, tmp_path, n_kills)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.split().count("interrupted") >= n_kills / 3
    unbroken = open_run(tmp_path / "unbroken")
    runs, broken = checkpoint.list_runs(tmp_path)
    assert broken == {}
    for run in runs:
        leftover = run.path / checkpoint.TRAINER
        leftover.unlink(missing_ok=True)  # killed between its last status and this
        assert_same(run, unbroken)


# What cannot be resumed says why, and stays as it is.


@pytest.fixture
def stopped(tmp_path):
    """A run of four epochs that was stopped after its third."""
    training = job.train(tmp_path / "run", MODELS["mlp"], TrainConfig("digits", 4, 512), "cpu")
    for _ in range(3):
        next(training)
    training.close()
    return open_run(tmp_path / "run")


def refusal(run: checkpoint.Run) -> str:
    """The sentence with which a resume is refused, by the library and by the command."""
    before = run.fingerprint()
    with pytest.raises(CheckpointError) as caught:
        list(job.resume(run.path, "cpu"))
    assert run.fingerprint() == before
    assert is_text(str(caught.value))
    return str(caught.value)


def edit_config(run: checkpoint.Run, part: str | None, **values) -> None:
    config = json.loads((run.path / "config.json").read_text())
    (config[part] if part else config).update(values)
    (run.path / "config.json").write_text(json.dumps(config))


def test_another_format_is_refused(stopped):
    edit_config(stopped, None, format_version=2)
    assert "format_version (=2) must be 1" in refusal(stopped)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("beta", 2.0), ("epochs", 40), ("batch_size", 64), ("seed", 1), ("binarise", "input")],
)
def test_settings_changed_by_hand_are_refused_by_name(stopped, setting, value):
    edit_config(stopped, "train", **{setting: value})
    message = refusal(stopped)
    assert "trainer.safetensors does not fit config.json" in message
    assert f"another {setting}; put the settings back" in message


@pytest.mark.parametrize("setting", ["patience", "weight_average"])
def test_settings_that_change_what_is_kept_are_refused_by_name(stopped, setting):
    edit_config(stopped, "train", **{setting: 1 if setting == "patience" else 0.5})
    assert f"another {setting};" in refusal(stopped)


def test_a_truncated_trainer_is_refused_whatever_its_length(stopped):
    path = stopped.path / checkpoint.TRAINER
    whole = path.read_bytes()
    for length in (0, 1, 8, 9, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert f"{path} is truncated or not a safetensors file" in refusal(stopped)
    path.write_bytes(whole)
    assert len(list(job.resume(stopped.path, "cpu"))) == 1


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, "trainer.safetensors"),
        ({}, "trainer.safetensors"),
        ({"state": "not JSON"}, "trainer.safetensors"),
        ({"state": "[]"}, "does not hold the state of a training"),
        ({"state": "{}"}, "does not fit config.json"),
        ({"state": "[" * 100_000}, "trainer.safetensors"),
    ],
)
def test_a_trainer_file_with_another_content_is_refused(stopped, metadata, said):
    data = safetensors.torch.save({"order": torch.zeros(3)}, metadata)
    (stopped.path / checkpoint.TRAINER).write_bytes(data)
    message = refusal(stopped)
    assert said in message
    assert len(message) < len(str(stopped.path)) + 300


@pytest.mark.parametrize("lost", ["order", "draws", "learner.encoder.mu.bias"])
def test_a_trainer_that_lacks_something_is_refused(stopped, lost):
    tensors, values = stopped.load_trainer()
    del tensors[lost]
    checkpoint.save_trainer(stopped, tensors, values)
    assert "it lacks or misstates" in refusal(stopped)


def test_the_trainer_of_another_model_is_refused(stopped, tmp_path):
    other = ModelConfig((1, 8, 8), hidden=(17,))
    training = job.train(tmp_path / "other", other, stopped.train_config, "cpu")
    next(training)
    training.close()
    shutil.copy(tmp_path / "other" / checkpoint.TRAINER, stopped.path)
    assert "trainer.safetensors does not fit config.json" in refusal(stopped)


def test_a_finished_run_is_not_resumed(tiny_run, tmp_path):
    run = tiny_run(tmp_path / "run")
    assert "is finished: there is nothing to resume" in refusal(run)


def test_a_run_without_its_trainer_is_refused_after_several_epochs_only(stopped, tmp_path):
    (stopped.path / checkpoint.TRAINER).unlink()
    assert "has no trainer.safetensors, without which" in refusal(stopped)
    rows = stopped.load_metrics()
    checkpoint.save_metrics(stopped, rows[:2])  # killed in its second epoch: begun anew
    list(job.resume(stopped.path, "cpu"))
    list(job.train(tmp_path / "unbroken", MODELS["mlp"], stopped.train_config, "cpu"))
    assert_same(stopped, open_run(tmp_path / "unbroken"))


def test_a_run_that_this_process_trains_is_not_resumed_beside_it(tmp_path):
    training = job.train(tmp_path / "run", MODELS["mlp"], TrainConfig("digits", 3, 512), "cpu")
    next(training)
    before = open_run(tmp_path / "run").fingerprint()
    with pytest.raises(CheckpointError, match="is being trained by another process"):
        next(job.resume(tmp_path / "run", "cpu"))
    assert open_run(tmp_path / "run").fingerprint() == before
    assert len(list(training)) == 2
    assert read_status(tmp_path / "run").state == "finished"


def test_a_run_whose_lock_another_process_holds_is_not_resumed(stopped):
    code = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(stopped.path / lock.LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        assert "is being trained by another process" in refusal(stopped)
        other.kill()  # the system lets go of its lock
    assert len(list(job.resume(stopped.path, "cpu"))) == 1


def test_a_run_taken_away_meanwhile_is_refused_and_not_made_anew(stopped, monkeypatch):
    load = catalogue.load

    def take_away_and_load(*arguments):
        shutil.rmtree(stopped.path, ignore_errors=True)
        return load(*arguments)

    monkeypatch.setattr(catalogue, "load", take_away_and_load)
    with pytest.raises(CheckpointError, match="No such file or directory"):
        next(job.resume(stopped.path, "cpu"))
    assert not stopped.path.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_run_is_refused(stopped):
    stopped.path.chmod(0o500)
    try:
        assert "Permission denied" in refusal(stopped)
    finally:
        stopped.path.chmod(0o700)


def test_a_diverged_run_is_at_its_last_good_epoch_when_it_is_resumed(tmp_path, monkeypatch):
    # Adam divides by the gradient's size, so a large rate explodes only once the weights are huge.
    config = TrainConfig("digits", 9, 512, 1e6, "constant")
    with pytest.raises(NonFiniteLoss, match=r"in epoch \d, step \d;") as raised:
        list(job.train(tmp_path / "run", MODELS["mlp"], config, "cpu"))
    run = open_run(tmp_path / "run")
    rows = run.load_metrics()
    assert len(rows) == 2 * (raised.value.epoch - 1)
    assert all(math.isfinite(row["neg_elbo"]) for row in rows)
    state = run.load_model().state_dict()
    assert all(tensor.isfinite().all() for tensor in state.values())
    with pytest.raises(NonFiniteLoss) as again:
        list(job.resume(run.path, "cpu"))
    assert str(again.value) == str(raised.value)


# The command.


def command(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_command_goes_on_where_a_run_ended(stopped, tmp_path, capsys):
    code, out, _ = command(capsys, "train", "--resume", stopped.path, "--device", "cpu")
    assert code == 0
    assert f"{stopped.path}: epoch 4, held-out recon" in out
    list(job.train(tmp_path / "unbroken", MODELS["mlp"], stopped.train_config, "cpu"))
    assert_same(stopped, open_run(tmp_path / "unbroken"))


@pytest.mark.parametrize(
    "option",
    [
        *(["--name", "x"], ["--folder", "x"], ["--dataset", "digits"], ["--preset", "quick"]),
        *(["--epochs", "9"], ["--beta", "0"], ["--latent-dim", "2"], ["--hidden", ""]),
        *(["--precision", "float32"], ["--seed", "0"], ["--weight-average", "0"]),
    ],
    ids=lambda option: option[0],
)
def test_a_resumed_run_keeps_its_settings(stopped, capsys, option):
    code, out, err = command(capsys, "train", "--resume", stopped.path, *option)
    assert (code, out) == (2, "")
    assert err == (
        f"vae: {option[0]} cannot go with --resume: a run keeps its settings; leave it out, or "
        "train a new run\n"
    )


def test_the_command_refuses_in_one_sentence(stopped, tiny_run, tmp_path, capsys):
    def refused(path) -> str:
        code, out, err = command(capsys, "train", "--resume", path)
        assert (code, out, err.count("\n"), err[:5]) == (2, "", 1, "vae: ")
        return err

    assert "there is no checkpoint at" in refused(tmp_path / "nowhere")
    assert "is finished" in refused(tiny_run(tmp_path / "done").path)
    with FileLock(stopped.path / lock.LOCK):
        assert "is being trained by another process" in refused(stopped.path)
    edit_config(stopped, "train", dataset="nonesuch")
    assert "unknown data set 'nonesuch'" in refused(stopped.path)
