"""A file with a class as people write it, and its weights: what the code says, and what not."""

import re
import sys

import pytest
import torch
import torch.nn.functional as F

from vae import formats
from vae.core.elbo import point_terms
from vae.data import catalogue
from vae.formats.gate import settle
from vae.runs.checkpoint import CheckpointError

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n"

VAE_FILE = (
    HEAD
    + """
class VAE(nn.Module):
    def __init__(self, latent_dim, hidden=32):
        super().__init__()
        self.enc = nn.Linear(64, hidden)
        self.drop = nn.Dropout(0.5)
        self.mean_layer = nn.Linear(hidden, latent_dim)
        self.other = nn.Linear(hidden, latent_dim)
        self.dec1 = nn.Linear(latent_dim, hidden)
        self.dec2 = nn.Linear(hidden, 64)

    def forward(self, x):
        h = self.drop(F.relu(self.enc(x.view(-1, 64))))
        mu, s = self.mean_layer(h), self.other(h)
        z = mu + SIGMA * torch.randn_like(mu) if self.training else mu
        out = torch.sigmoid(self.dec2(F.relu(self.dec1(z))))
        return RETURNED
"""
)


@pytest.fixture(scope="module")
def digits():
    return catalogue.load("digits", "test")


def written(tmp_path, monkeypatch, text, name="mine.py"):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    return name


def theirs(model):
    """The module that a person wrote, inside ours."""
    return next(m for m in model.modules() if type(m).__module__.startswith("mine_"))


@pytest.mark.parametrize(
    ("sigma", "second", "meaning"),
    [
        ("torch.exp(s / 2)", "s", "log variance"),
        ("torch.exp(s)", "s", "log sigma"),
        ("s", "s", "sigma"),
        ("F.softplus(s)", "s", "sigma by softplus"),
    ],
)
@pytest.mark.parametrize(
    "returned",
    ["(out, mu, S)", "(mu, S, out)", "(S, mu, out)", "{'x': out, 'sd': S, 'm': mu, 'z': z}"],
)
def test_forward_says_which_is_which_and_what_the_second_head_is(
    tmp_path, monkeypatch, digits, sigma, second, meaning, returned
):
    text = VAE_FILE.replace("SIGMA", sigma).replace("RETURNED", returned.replace("S", second))
    file = written(tmp_path, monkeypatch, text)
    torch.manual_seed(0)
    run = formats.open_module(f"{file}:VAE", arguments=[("latent_dim", "3")])
    facts = {fact.name: fact for fact in run.facts}
    assert facts["second head"].value == meaning
    model = run.load_model()
    module = theirs(model)
    x = digits.images[:20].float() / 255
    h = F.relu(module.enc(x.flatten(1)))
    mu, s = module.mean_layer(h), module.other(h)
    found = model.encode(x)
    torch.testing.assert_close(found[0], mu)
    wanted = {
        "log variance": s,
        "log sigma": 2 * s,
        "sigma": (s * s).log(),
        "sigma by softplus": 2 * F.softplus(s).log(),
    }[meaning]
    torch.testing.assert_close(found[1], wanted, rtol=1e-4, atol=1e-4)
    z = torch.randn(5, 3)
    wanted = torch.sigmoid(module.dec2(F.relu(module.dec1(z))))
    torch.testing.assert_close(model.decode_mean(z).flatten(1), wanted)
    point_terms(model, x, torch.randn(2, 20, 3)).neg_elbo.sum().backward()
    assert module.enc.weight.grad is not None


def test_weights_of_a_file_are_put_in_and_what_does_not_fit_is_named(tmp_path, monkeypatch):
    text = VAE_FILE.replace("SIGMA", "torch.exp(s / 2)").replace("RETURNED", "out, mu, s")
    spec = f"{written(tmp_path, monkeypatch, text)}:VAE"
    namespace = {}
    exec(text, namespace)
    trained = namespace["VAE"](2)
    state = {f"module.{name}": value for name, value in trained.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, "vae.pth")
    run = formats.open_module(spec, weights="vae.pth", arguments=[("latent_dim", "2")])
    x = torch.rand(4, 1, 8, 8)
    wanted = trained.eval()(x)[1]
    torch.testing.assert_close(run.load_model().encode(x)[0], wanted)

    with pytest.raises(CheckpointError, match="is made with latent_dim; say it: --arg latent_dim="):
        formats.open_module(spec, weights="vae.pth")
    with pytest.raises(CheckpointError, match=r"has no argument k; it has latent_dim, hidden"):
        formats.open_module(spec, arguments=[("latent_dim", "2"), ("k", "2")])
    with pytest.raises(CheckpointError) as caught:
        formats.open_module(spec, weights="vae.pth", arguments=[("latent_dim", "5")])
    assert "mean_layer.weight is 2x32 in the file and 5x32 in the module" in str(caught.value)
    del state["module.dec2.bias"]
    state["module.dec3.bias"] = torch.zeros(7)
    torch.save(state, "other.pth")
    with pytest.raises(CheckpointError) as caught:
        formats.open_module(spec, weights="other.pth", arguments=[("latent_dim", "2")])
    assert "missing: dec2.bias 64; left over: dec3.bias 7" in str(caught.value)


# As people write it: encode and decode, and a loss that knows what they mean.
MODEL = (
    HEAD
    + """
class VAE(nn.Module):
    image_shape = 1, 16, 16

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU())
        self.mu, self.second = nn.Linear(64, 4), nn.Linear(64, 4)
        self.back = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 256))

    def encode(self, x):
        h = self.body(x)
        return self.mu(h), self.second(h)

    def decode(self, z):
        return LAST(self.back(z)).view(-1, 1, 16, 16)
"""
)
CASES = {
    "sigma without exp": ("torch.sigmoid", "[0, 1]", "sigma", "s"),
    "log sigma": ("torch.sigmoid", "[0, 1]", "log sigma", "s.exp()"),
    "[-1, 1] with tanh": ("torch.tanh", "[-1, 1]", "log variance", "(s / 2).exp()"),
    "[-1, 1] in, sigmoid out": ("torch.sigmoid", "[-1, 1]", "log variance", "(s / 2).exp()"),
    "sigma by softplus": ("torch.sigmoid", "[0, 1]", "sigma by softplus", "F.softplus(s)"),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("case", CASES)
def test_what_the_code_does_not_say_is_caught_and_the_right_reading_offered(
    tmp_path, monkeypatch, digits, case
):
    last, pixels, meaning, sigma = CASES[case]
    file = written(tmp_path, monkeypatch, MODEL.replace("LAST", last))
    torch.manual_seed(0)
    run = formats.open_module(f"{file}:VAE")
    module = theirs(run.load_model())
    digits = digits.resized((1, 16, 16))
    images = catalogue.load("digits", "train").resized((1, 16, 16)).images
    train(module, images.float() / 255, last, pixels, sigma)
    module.eval()
    _, verdict = settle(run, digits)
    assert not verdict.passed
    offered = dict(verdict.better[0].choices)
    wanted = {"input": pixels, "second head": meaning}
    wanted |= {"output": "tanh"} if last == "torch.tanh" else {}
    as_is = {"input": "[0, 1]", "second head": "log variance"}
    assert {n: offered.get(n, as_is.get(n)) for n in wanted} == wanted
    right, again = settle(run.read_with(offered), digits)
    assert again.passed, again.reasons
    x = digits.images[:30].float() / 255
    mu, s = module.encode(x if pixels == "[0, 1]" else 2 * x - 1)
    spread = eval(sigma, {"s": s, "F": F})
    q = torch.distributions.Normal(mu, spread.abs().clamp(min=1e-12))
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    kl = torch.distributions.kl_divergence(q, prior).sum(1)
    found = point_terms(right.load_model(), x, torch.zeros(1, 30, 4)).kl
    torch.testing.assert_close(found, kl, rtol=1e-3, atol=1e-3)


def train(module, x, last, pixels, sigma):
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(module.parameters(), 3e-3)
    if pixels == "[-1, 1]":
        x = 2 * x - 1
    for _ in range(500):
        batch = x[torch.randint(len(x), (128,), generator=generator)]
        mu, s = module.encode(batch)
        spread = eval(sigma, {"s": s, "F": F})
        out = module.decode(mu + spread * torch.randn(mu.shape, generator=generator))
        if last == "torch.sigmoid":
            target = batch if pixels == "[0, 1]" else (batch + 1) / 2
            recon = F.binary_cross_entropy(out, target, reduction="sum")
        else:
            recon = F.mse_loss(out, batch, reduction="sum") * 2
        variance = spread**2 + 1e-8
        kl = (mu**2 + variance - 1 - variance.log()).sum() / 2
        optimiser.zero_grad()
        ((recon + kl) / len(batch)).backward()
        optimiser.step()


CONDITIONAL = (
    HEAD
    + """
class CVAE(nn.Module):
    def __init__(self, k=2):
        super().__init__()
        self.fc1 = nn.Linear(64 + 10, 20)
        self.fc21, self.fc22 = nn.Linear(20, k), nn.Linear(20, k)
        self.fc3 = nn.Linear(k + 10, 20)
        self.fc4 = nn.Linear(20, 64)

    def forward(self, x, y):
        y = F.one_hot(y, 10).float()
        h = F.relu(self.fc1(torch.cat([x, y], 1)))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(torch.cat([z, y], 1))))), mu, logvar
"""
)


@pytest.mark.parametrize("hot", [False, True])
def test_a_forward_with_a_label_is_a_conditional_model(tmp_path, monkeypatch, digits, hot):
    text = CONDITIONAL.replace("        y = F.one_hot(y, 10).float()\n", "") if hot else CONDITIONAL
    file = written(tmp_path, monkeypatch, text)
    torch.manual_seed(0)
    run = formats.open_module(f"{file}:CVAE")
    assert run.model_config.n_classes == 10
    model = run.load_model()
    module = theirs(model)
    x, y = digits.images[:6].float() / 255, digits.labels[:6]
    torch.manual_seed(1)
    _, mu, logvar = module(x.flatten(1), F.one_hot(y, 10).float() if hot else y)
    given = model.given(y)
    torch.testing.assert_close(given.encode(x), (mu, logvar))
    z = torch.randn(6, 2)
    beside = torch.cat([z, F.one_hot(y, 10).float()], 1)
    wanted = torch.sigmoid(module.fc4(F.relu(module.fc3(beside))))
    torch.testing.assert_close(given.decode_mean(z).flatten(1), wanted)
    _, verdict = settle(run, digits)
    assert not verdict.passed  # it was never trained


def test_the_command_line_puts_weights_in_and_takes_a_reading(tmp_path, monkeypatch, capsys):
    from vae import cli

    file = written(tmp_path, monkeypatch, MODEL.replace("LAST", "torch.sigmoid"))
    namespace = {}
    exec(MODEL.replace("LAST", "torch.sigmoid"), namespace)
    torch.manual_seed(0)
    torch.save(namespace["VAE"]().state_dict(), "vae.pth")
    asked = ["--model", f"{file}:VAE", "--weights", "vae.pth", "--dataset", "digits"]
    assert cli.main(["evaluate", *asked, "--reading", "second head=sigma"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"second head +sigma \(chosen", out)
    assert "one constant image for all costs" in err  # it was never trained
    assert cli.main(["evaluate", *asked, "--reading", "second head=tau"]) == 2
    assert "must be one of: log variance, log sigma, sigma" in capsys.readouterr().err
    assert cli.main(["evaluate", *asked, "--arg", "k=2"]) == 2
    assert "has no argument k" in capsys.readouterr().err


def test_a_file_that_fails_says_where(tmp_path, monkeypatch):
    file = written(tmp_path, monkeypatch, "import torch\n1 / 0\n", "broken.py")
    with pytest.raises(CheckpointError, match=re.escape("(line 2 of broken.py)")):
        formats.open_module(f"{file}:VAE")
    assert not any(name.startswith("broken_") for name in sys.modules)
