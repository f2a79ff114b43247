"""What several test files share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vae import checkpoint, cli, job
from vae.config import ModelConfig, TrainConfig

ROOT = Path(__file__).resolve().parent.parent

# Two test workers on two cores: neither they nor the processes they start take more than one each.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Callable[[Path], checkpoint.Run]:
    """tiny_run(path) puts a run folder there: digits, one hidden layer of 16, two epochs."""
    original = tmp_path_factory.mktemp("original") / "tiny"
    model_config = ModelConfig(image_shape=(1, 8, 8), hidden=(16,))
    for _ in job.train(original, model_config, TrainConfig("digits", epochs=2), "cpu"):
        pass

    def copy(path: Path) -> checkpoint.Run:
        return checkpoint.open_run(shutil.copytree(original, path))

    return copy


@pytest.fixture
def checkpoints(tmp_path, monkeypatch) -> Path:
    """An empty folder that VAE_CHECKPOINTS names, here and in the processes that a test starts."""
    path = tmp_path / "checkpoints"
    path.mkdir()
    monkeypatch.setenv("VAE_CHECKPOINTS", str(path))
    return path


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess]:
    """python("-m", "vae", "list") runs a fresh interpreter in the repository; output is text."""

    def run(*arguments: str | Path, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)

    return run


@pytest.fixture
def vae(capsys):
    """vae("list") runs a command in this process: (exit code, stdout, stderr)."""

    def run(*arguments) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse ends like this
            code = error.code
        return code, *capsys.readouterr()

    return run
