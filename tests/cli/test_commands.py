"""What all commands share: their help, how they end, and that they are a program."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest

from vae import formats
from vae.cli import common, train
from vae.errors import UserError
from vae.training.distributed import PeerLost
from vae.training.trainer import NonFiniteLoss

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("train", "queue", "evaluate", "terms", "list", "shrink", "refit", "export", "data", "bench"),
)


def test_bench_measures_only_what_it_knows(refused):
    assert "nonesuch" in refused("bench", "nonesuch")
    assert "live" in refused("bench")
    assert "--nonesuch" in refused("bench", "live", "--nonesuch")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_names_the_unit_and_gives_examples(vae, command):
    code, out, err = vae(*command, "--help")
    assert (code, err) == (0, "")
    assert "nats per image" in out
    assert "examples:" in out
    assert f"python -m vae {' '.join(command)}" in out.split("examples:")[1]
    assert "None" not in out


def test_an_unknown_command_is_refused(refused):
    assert "nonesuch" in refused("nonesuch")
    assert "COMMAND" in refused()


@pytest.mark.parametrize("fault", [ValueError, OSError, ZeroDivisionError])
def test_a_fault_of_ours_ends_with_its_traceback_and_one_sentence(vae, monkeypatch, fault):
    def broken(*arguments):
        raise fault("a secret of ours")

    monkeypatch.setattr(formats, "list_runs", broken)
    code, out, err = vae("list")
    assert (code, out) == (1, "")
    assert "Traceback" in err
    assert f"{fault.__name__}: a secret of ours" in err
    *_, last = err.splitlines()
    assert last.startswith("vae: something went wrong in ELBO Room itself")


def test_a_lost_peer_is_told_though_the_group_is_ended_at_that_very_moment(vae, monkeypatch):
    said = common.say

    def say_late(*arguments, **options):
        monkeypatch.setattr(common, "say", said)
        raise train.Terminated

    def lose(*arguments):
        raise PeerLost(RuntimeError("gone"))

    monkeypatch.setattr(common, "say", say_late)
    monkeypatch.setattr(formats, "list_runs", lose)
    code, _, err = vae("list")
    assert code == 1
    assert err.startswith("vae: another process of this training is gone")


@pytest.mark.parametrize(
    ("error", "expected"), [(UserError("no"), 2), (NonFiniteLoss(1, 2, 3.0), 1)]
)
def test_what_a_person_is_told_has_no_traceback_and_an_exit_code_of_its_own(
    vae, monkeypatch, error, expected
):
    def refuse(*arguments):
        raise error

    monkeypatch.setattr(formats, "list_runs", refuse)
    assert vae("list") == (expected, "", f"vae: {error}\n")
    assert PeerLost(OSError("gone")).exit_code == 1


def test_a_full_disk_behind_standard_output_is_told(vae, run, monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    code, _, err = vae("terms", run.path, "--limit", "2")
    assert code == 2
    assert err.startswith("vae: cannot write standard output: No space left on device")


def test_as_a_program_it_ends_quietly_when_its_reader_goes_away(run):
    command = [sys.executable, "-m", "vae", "terms", str(run.path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (1, "")
