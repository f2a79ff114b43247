import json

import pytest


@pytest.fixture
def refused(vae):
    """The one line that a refused command prints, after "vae: "."""

    def run(*arguments) -> str:
        code, out, err = vae(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("vae: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        return err[5:-1]

    return run


@pytest.fixture
def run(tiny_run, checkpoints):
    return tiny_run(checkpoints / "tiny")


@pytest.fixture
def evaluated(vae):
    """What a command of `evaluate` found."""

    def run(*arguments) -> dict:
        code, out, err = vae("evaluate", *arguments, "--json")
        assert code == 0
        assert "vae: " not in err
        return json.loads(out)

    return run
