"""VAEs of residual blocks as people write them, each with its own place for the sum."""

import torch
import torch.nn.functional as F
from torch import nn


class _Basic(nn.Module):
    """The block of a ResNet, its pieces under torchvision's names."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = None
        if stride > 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A small ResNet as encoder, its children in a Sequential; the mean over the whole image."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.MaxPool2d(3, 2, 1), nn.Sequential(_Basic(8, 8), _Basic(8, 8))),
            *(nn.Sequential(_Basic(8, 16, 2), _Basic(16, 16)), nn.AdaptiveAvgPool2d(1)),
        )
        self.fc_mu = nn.Linear(16, 5)
        self.fc_logvar = nn.Linear(16, 5)
        self.decoder_fc = nn.Linear(5, 16 * 16)
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Sigmoid()),
        )

    def encode(self, x):
        h = self.encoder(x).flatten(1)
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        return self.decoder(self.decoder_fc(z).view(-1, 16, 4, 4))


class _Layer(nn.Module):
    """The residual layer of VQ-VAEs: activations first, in place; the second kernel is 1."""

    def __init__(self, n):
        super().__init__()
        self._block = nn.Sequential(
            *(nn.ReLU(True), nn.Conv2d(n, n // 2, 3, 1, 1, bias=False)),
            *(nn.ReLU(True), nn.Conv2d(n // 2, n, 1, bias=False)),
        )

    def forward(self, x):
        return x + self._block(x)


class Stacked(nn.Module):
    """A stack of them in both networks, with an activation at its end."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 4, 2, 1)
        self.conv2 = nn.Conv2d(8, 16, 4, 2, 1)
        self.encoder_residual = nn.ModuleList([_Layer(16), _Layer(16)])
        self.mu = nn.Linear(16 * 49, 4)
        self.logvar = nn.Linear(16 * 49, 4)
        self.decoder_input = nn.Linear(4, 16 * 49)
        self.decoder_residual = nn.ModuleList([_Layer(16), _Layer(16)])
        self.deconv1 = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.deconv2 = nn.ConvTranspose2d(8, 1, 4, 2, 1)

    def encode(self, x):
        h = self.conv2(F.relu(self.conv1(x)))
        for layer in self.encoder_residual:
            h = layer(h)
        h = F.relu(h).flatten(1)
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        h = self.decoder_input(z).view(-1, 16, 7, 7)
        for layer in self.decoder_residual:
            h = layer(h)
        return torch.sigmoid(self.deconv2(F.relu(self.deconv1(F.relu(h)))))


class _Down(nn.Module):
    """Half as large, the shortcut a kernel of 3; the last norm reads the sum."""

    def __init__(self, n_in, n_out, up=False):
        super().__init__()
        stride = 1 if up else 2
        self.up = nn.Upsample(scale_factor=2) if up else nn.Identity()
        self.conv1 = nn.Conv2d(n_in, n_out // 2, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(n_out // 2)
        self.conv2 = nn.Conv2d(n_out // 2, n_out, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv3 = nn.Conv2d(n_in, n_out, 3, stride, 1)

    def forward(self, x):
        x = self.up(x)
        return F.elu(self.bn2(self.conv2(F.elu(self.bn1(self.conv1(x)))) + self.conv3(x)))


class NormedSum(nn.Module):
    """Blocks that shrink and that enlarge, convolutions for heads."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.conv_in = nn.Conv2d(3, 8, 7, 1, 3)
        self.encoder.res_down1 = _Down(8, 16)
        self.encoder.res_down2 = _Down(16, 32)
        self.encoder.res_down3 = _Down(32, 32)
        self.encoder.conv_mu = nn.Conv2d(32, 6, 4)
        self.encoder.conv_log_var = nn.Conv2d(32, 6, 4)
        self.decoder = nn.Module()
        self.decoder.conv_t_up = nn.ConvTranspose2d(6, 32, 4)
        self.decoder.res_up1 = _Down(32, 16, up=True)
        self.decoder.res_up2 = _Down(16, 8, up=True)
        self.decoder.res_up3 = _Down(8, 8, up=True)
        self.decoder.conv_out = nn.Conv2d(8, 3, 3, 1, 1)

    def encode(self, x):
        e = self.encoder
        h = e.res_down3(e.res_down2(e.res_down1(F.elu(e.conv_in(2 * x - 1)))))
        return e.conv_mu(h).flatten(1), e.conv_log_var(h).flatten(1)

    def decode(self, z):
        d = self.decoder
        h = d.res_up3(d.res_up2(d.res_up1(F.elu(d.conv_t_up(z[:, :, None, None])))))
        return d.conv_out(h).tanh() / 2 + 0.5


class _First(nn.Module):
    """Group norms and activations before the layers, as in diffusion models."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.norm1 = nn.GroupNorm(4, n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, 1, 1)
        self.norm2 = nn.GroupNorm(4, n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.nin_shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        return self.conv2(F.silu(self.norm2(h))) + self.nin_shortcut(x)


class NormFirst(nn.Module):
    """Strided convolutions between such blocks, upsampling by pixels between those that go back."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, 1, 1), _First(8, 8), nn.Conv2d(8, 8, 4, 2, 1)),
            *(_First(8, 16), nn.Conv2d(16, 16, 4, 2, 1), _First(16, 16)),
        )
        self.fc_mu = nn.Linear(16 * 49, 3)
        self.fc_logvar = nn.Linear(16 * 49, 3)
        self.fc_z = nn.Linear(3, 16 * 49)
        self.decoder = nn.Sequential(
            *(_First(16, 16), nn.Upsample(scale_factor=2), nn.Conv2d(16, 16, 3, 1, 1)),
            *(_First(16, 8), nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, 1, 1)),
            *(_First(8, 8), nn.Conv2d(8, 1, 3, 1, 1)),
        )

    def encode(self, x):
        h = self.encoder(x).flatten(1)
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        return torch.sigmoid(self.decoder(self.fc_z(z).view(-1, 16, 7, 7)))


class _Wrapped(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.res = nn.Sequential(
            *(nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1)),
            *(nn.ReLU(), nn.Conv2d(channels, channels, 1)),
        )

    def forward(self, x):
        return x + self.res(x)


class Wrapped(nn.Module):
    """Blocks whose layers lie one module deeper, in Sequentials that are no lists of blocks."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 4, 2, 1), _Wrapped(16)),
            *(nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 6)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(3, 16 * 49), nn.Unflatten(1, (16, 7, 7)), _Wrapped(16), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1)),
        )

    def encode(self, x):
        return self.encoder(x).chunk(2, 1)

    def decode(self, z):
        return torch.sigmoid(self.decoder(z))


RESIDUAL = {
    ResNet: {},
    Stacked: {"residual blocks": "activation first, added too, one behind the last"},
    NormedSum: {
        "residual blocks": "norm and activation after the sum",
        "hidden activation": "ELU",
        "output": "tanh",
        "input": "[-1, 1]",
    },
    Wrapped: {
        "residual blocks": "activation first, one behind the last",
        "activation before the blocks": "none",
        "activation before the reshape": "none",
    },
    NormFirst: {"hidden activation": "SiLU", "norm groups": "4 groups"},
}
