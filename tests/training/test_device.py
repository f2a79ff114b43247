import pytest
import torch
from training.small import config, digits, make

from vae.training.device import choose_device
from vae.training.trainer import fit


@pytest.fixture
def only_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    "name", ["cuda", "cuda:0", "mps", "gpu", "tpu", "", "CPU", "cpu:x", "cpu:1", "cuda:-1", "meta"]
)
def test_a_device_that_is_not_there_is_told_with_those_that_are(only_a_cpu, name):
    message = f"device (={name!r}) is not available here; choose one of: cpu"
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole text is checked
        choose_device(name)
    assert str(raised.value) == message
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        next(fit(make(), *digits(), config(), name))
    assert str(raised.value) == message


def test_the_fastest_device_is_chosen(monkeypatch, only_a_cpu):
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device() == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match=r"device \(='cuda:2'\) .* one of: cuda, mps, cpu$"):
        choose_device("cuda:2")
