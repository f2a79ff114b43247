"""TorchScript: weights of its own pickle, and what its code says of the layers."""

import warnings
import zipfile

import pytest
import torch
from formats.wholes import whole

from vae.formats.containers import tensors
from vae.formats.containers.tensors import LayerFacts

EXPECTED = {
    "encoder.conv": ("Conv2d", {"stride": (2, 2), "padding": (1, 1)}),
    "encoder.norm": ("BatchNorm2d", {"eps": 1e-5}),
    "encoder.act": ("LeakyReLU", {"negative_slope": 0.1}),
    "encoder.flatten": ("Flatten", {"start_dim": 1}),
    "encoder.mu": ("Linear", {}),
    "encoder.logvar": ("Linear", {}),
    "decoder.fc": ("Linear", {}),
    "decoder.elu": ("ELU", {}),
    "decoder.view": ("Reshape", {"shape": (4, 4, 4)}),
    "decoder.conv": (
        "ConvTranspose2d",
        {"stride": (2, 2), "padding": (1, 1), "output_padding": (1, 1)},
    ),
    "decoder.sigmoid": ("Sigmoid", {}),
}


def program(how: str) -> torch.jit.ScriptModule:
    model = whole()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "traced":
            return torch.jit.trace(model, torch.zeros(3, 1, 8, 8), check_trace=False)
        del model.output  # a function is no attribute that can be scripted
        return torch.jit.script(model)


def save(module: torch.jit.ScriptModule, path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.save(str(path))


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_a_program_is_its_weights_and_the_layers_of_its_code(tmp_path, how):
    save(program(how), tmp_path / "vae.pt")
    survey = tensors.survey(tmp_path / "vae.pt")
    assert survey.container == "TorchScript"
    found, state = survey.load(), whole().state_dict()
    assert set(found) == {name for name, t in state.items() if t.is_floating_point()}
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())
    assert list(survey.modules) == list(EXPECTED)
    for name, (kind, values) in EXPECTED.items():
        assert survey.modules[name].kind == kind
        assert values.items() <= survey.modules[name].values.items(), name


def test_a_layer_that_is_run_again_is_told_again(tmp_path):
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act = torch.nn.Linear(3, 3), torch.nn.Tanh()

        def forward(self, x):
            return torch.relu(torch.relu(self.act(self.a(self.act(x)))))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(torch.jit.trace(Twice(), torch.zeros(2, 3)), tmp_path / "t.pt")
    survey = tensors.survey(tmp_path / "t.pt")
    kinds = [(name, facts.kind) for name, facts in survey.modules.items()]
    assert kinds == [
        ("act", "Tanh"),
        ("a", "Linear"),
        ("act#2", "Tanh"),
        ("relu", "ReLU"),
        ("relu#2", "ReLU"),
    ]


class Named(torch.nn.Module):
    """Whose methods call self by another name, as torch prints it then."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(3, 3)

    def forward(s, x):  # noqa: N805
        return torch.nn.functional.softplus(s.a(x))


def test_self_may_have_another_name(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(torch.jit.script(Named()), tmp_path / "t.pt")
    kinds = [
        (name, facts.kind) for name, facts in tensors.survey(tmp_path / "t.pt").modules.items()
    ]
    assert kinds == [("a", "Linear"), ("softplus", "Softplus")]


HEAD = "class WholeVAE(Module):\n  def forward(self: __torch__.V, x: Tensor) -> Tensor:\n"
LIES = {
    "no Python": "class WholeVAE(Module:\n  )(",
    "nested deeper than a parser follows": HEAD + "    return " + "(" * 5000 + ")" * 5000,
    "a sum of many": HEAD + "    return " + "+".join(["x"] * 40_000),
    "minus minus minus": HEAD + "    return " + "-" * 60_000 + "x",
    "calls itself": HEAD + "    return (self).forward((self).forward(x, ), )",
    "calls itself by another name": HEAD + "    s = self\n" + "    (s).forward(x)\n" * 1000,
    "asks for the system": HEAD + "    __import__('os').system('touch {created}')\n    return x",
    "a long name": HEAD + "    return torch." + "a." * 20_000 + "relu(x)",
    "nothing of use": HEAD + "    return torch.conv2d()",
    "wrong arguments": HEAD + "    return torch._convolution(x, [1], {{}}, *x, **x)",
    "null": "\0",
    "not text": "\udcff",
}


@pytest.mark.parametrize("lie", LIES)
def test_code_that_lies_is_never_run_and_tells_nothing(tmp_path, lie):
    created, path = tmp_path / "created", tmp_path / "vae.pt"
    save(program("traced"), tmp_path / "true.pt")
    text = LIES[lie].replace("{created}", str(created)).encode("utf-8", "surrogateescape")
    replaced = 0
    with zipfile.ZipFile(tmp_path / "true.pt") as old, zipfile.ZipFile(path, "w") as new:
        for part in old.infolist():
            name = part.filename.replace("true/", "vae/")
            is_code = name.endswith(".py") and "/wholes" in name  # of our own classes
            new.writestr(name, text if is_code else old.read(part.filename), part.compress_type)
            replaced += is_code
    assert replaced
    survey = tensors.survey(path)
    assert len(survey.load()) == 14
    assert "decoder.sigmoid" not in survey.modules
    assert all(isinstance(facts, LayerFacts) for facts in survey.modules.values())
    assert not created.exists()


def test_code_that_unpacks_to_far_more_is_not_read(tmp_path):
    save(program("traced"), tmp_path / "vae.pt")
    with zipfile.ZipFile(tmp_path / "vae.pt", "a") as file:
        file.writestr("vae/code/__torch__/bomb.py", bytes(200_000_000), zipfile.ZIP_DEFLATED)
    assert "decoder.sigmoid" in tensors.survey(tmp_path / "vae.pt").modules
