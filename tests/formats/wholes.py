"""A VAE as a person writes it, for tests of files that hold whole modules."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.LeakyReLU(0.1)
        self.mu = nn.Linear(4 * 4 * 4, 2)
        self.logvar = nn.Linear(4 * 4 * 4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.flatten(self.act(self.norm(self.conv(x))), 1)
        return self.mu(h), self.logvar(h)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 4 * 4 * 4)
        self.conv = nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = F.elu(self.fc(z)).view(-1, 4, 4, 4)
        return torch.sigmoid(self.conv(h))


class WholeVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = 2
        self.image_shape = (1, 8, 8)
        self.output = torch.sigmoid
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encoder(x)
        return self.decoder(mu + torch.exp(0.5 * logvar)), mu, logvar


def whole() -> WholeVAE:
    torch.manual_seed(0)
    model = WholeVAE()
    model.encoder.norm.running_mean += torch.randn(4)
    return model.eval()
