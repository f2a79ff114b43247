import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from vae import cli
from vae.runs import checkpoint
from vae.runs.checkpoint import open_run
from vae.runs.status import read_status
from vae.training import distributed

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("train", "--hidden", "16", "--batch-size", "256", "--device", "cpu", "--seed", "5")
TRAIN += ("--precision", "float32", "--free-bits", "0.05", "--binarise", "input")
TRAIN += ("--max-grad-norm", "50", "--condition", "label")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo and SIGKILL as on Linux")


def torchrun(*arguments) -> subprocess.CompletedProcess:
    """Two processes of a program, as torchrun starts them, on a port of their own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def sentences(finished: subprocess.CompletedProcess) -> list[str]:
    """What our own program says on stderr, behind torchrun's words or the bar's."""
    return re.findall(r"\bvae: (.*)", finished.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with one run by two processes, and the same by one."""
    folder = tmp_path_factory.mktemp("runs")
    for start, name in ((torchrun, "two"), (None, "one")):
        options = [*TRAIN, "--epochs", "12", "--folder", str(folder), "--name", name]
        if start:
            finished = start("-m", "vae", *options)
            assert finished.returncode == 0, finished.stderr
            assert finished.stdout.count("nats per image") == 1  # the first alone speaks
        else:
            assert cli.main(options) == 0
    return folder


@pytest.mark.slow
def test_two_processes_train_what_one_does(folder):
    one, two = (open_run(folder / name) for name in ("one", "two"))
    assert one.train_config == two.train_config
    rows = [[row for row in run.load_metrics() if row["split"] == "test"] for run in (one, two)]
    assert len(rows[0]) == len(rows[1]) == 12
    for ours, theirs in zip(*rows, strict=True):  # they differ by the rounding of sums alone
        assert ours["neg_elbo"] == pytest.approx(theirs["neg_elbo"], abs=0.05)
    assert rows[0][-1]["neg_elbo"] < rows[0][0]["neg_elbo"]


def test_only_the_first_process_writes(folder):
    found = {str(p.relative_to(folder / "two")) for p in (folder / "two").rglob("*")}
    assert found == {str(p.relative_to(folder / "one")) for p in (folder / "one").rglob("*")}
    assert len(open_run(folder / "two").load_metrics()) == 24
    assert read_status(folder / "two").state == "finished"


SEVERAL = """
import sys
from vae import cli
from vae.training import distributed
path, folder, *train = sys.argv[1:]
outputs = {"all.csv": [], "three.csv": ["--limit", "3"], "one.csv": ["--limit", "1"]}
with distributed.group("cpu"):
    for output, options in outputs.items():
        assert cli.main(["terms", path, "--output", f"{folder}/{output}", *options]) == 0
    assert cli.main(["evaluate", path, "--json", "--importance-samples", "5"]) == 0
    assert cli.main(train) == 2
"""


@pytest.mark.slow
def test_two_processes_evaluate_list_terms_and_are_refused_as_one_is(folder, tmp_path, capsys):
    (tmp_path / "program.py").write_text(SEVERAL)
    path = folder / "one"
    refused = [*TRAIN, "--folder", folder, "--name", "two"]
    finished = torchrun(tmp_path / "program.py", path, tmp_path, *refused)
    assert finished.returncode == 0, finished.stderr
    assert sentences(finished) == [
        f"a run named 'two' exists already in {folder}; choose another name"
    ]
    for name, options in (
        ("all.csv", []),
        ("three.csv", ["--limit", "3"]),
        ("one.csv", ["--limit", "1"]),  # one process has nothing to do
    ):
        assert cli.main(["terms", str(path), *options]) == 0
        expected = pd.read_csv(io.StringIO(capsys.readouterr().out))
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / name), expected, rtol=1e-4, atol=1e-5)
    assert cli.main(["evaluate", str(path), "--json", "--importance-samples", "5"]) == 0
    two, one = json.loads(finished.stdout), json.loads(capsys.readouterr().out)
    assert two.pop("condition") == one.pop("condition")
    assert two.pop("kl_per_dim") == pytest.approx(one.pop("kl_per_dim"), rel=1e-5)
    assert two == pytest.approx(one, rel=1e-5)


KILLED = """
import os, signal, sys
from vae import cli
from vae.training.trainer import Trainer
victim, go_on = int(sys.argv[1]), Trainer.train_epoch

def train_epoch(trainer, *arguments):
    if trainer.epoch == 3 and int(os.environ["RANK"]) == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return go_on(trainer, *arguments)

Trainer.train_epoch = train_epoch
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_the_training_in_a_sentence_and_one_finishes_it(
    folder, tmp_path, victim
):
    (tmp_path / "program.py").write_text(KILLED)
    options = [*TRAIN, "--epochs", "12", "--folder", str(tmp_path), "--name", "run"]
    finished = torchrun(tmp_path / "program.py", victim, *options)
    assert finished.returncode != 0
    said = sentences(finished)
    assert len(said) == 1, finished.stderr
    # torchrun may ask the other process to end before that has noticed.
    assert said[0].startswith("another process of this training is gone") or said == ["stopped"]
    run = open_run(tmp_path / "run")
    run.load_model()
    assert len(run.load_metrics()) == 6
    assert read_status(run.path).state in ("failed", "interrupted", "stopped")

    assert cli.main(["train", "--resume", str(run.path), "--device", "cpu"]) == 0
    last, expected = (r.load_metrics()[-1] for r in (run, open_run(folder / "one")))
    assert last["neg_elbo"] == pytest.approx(expected["neg_elbo"], abs=0.05)
    assert read_status(run.path).state == "finished"


# Alone.


def test_a_process_alone_is_a_group_of_one():
    with distributed.group("cpu") as device:
        assert device is None
        assert (distributed.rank(), distributed.size()) == (0, 1)
        values = torch.arange(6.0)
        assert distributed.share(values) is values
        assert torch.equal(distributed.add_up(values.clone()), values)
        assert distributed.gather("x") == ["x"]
        for flag in (True, False):
            assert distributed.any_of(flag, torch.device("cpu")) is flag


def test_an_error_of_ones_own_is_not_laid_on_others():
    with pytest.raises(RuntimeError, match=r"^gloo, it says$"), distributed.peers():
        raise RuntimeError("gloo, it says")  # alone there is no peer that could be lost


def test_the_list_shows_runs_of_groups_as_any_other(folder):
    assert [run.name for run in checkpoint.list_runs(folder)[0]] == ["one", "two"]
