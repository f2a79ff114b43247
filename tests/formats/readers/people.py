"""VAEs as people write them: plain torch modules, each with its own names and order."""

import torch
import torch.nn.functional as F
from torch import nn


class Wide(nn.Module):
    """The tutorial's MLP with one more layer each side."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 40)
        self.fc1a = nn.Linear(40, 12)
        self.fc21 = nn.Linear(12, 2)
        self.fc22 = nn.Linear(12, 2)
        self.fc3 = nn.Linear(2, 12)
        self.fc3a = nn.Linear(12, 40)
        self.fc4 = nn.Linear(40, 784)

    def encode(self, x):
        h = F.relu(self.fc1a(F.relu(self.fc1(x.flatten(1)))))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        h = F.relu(self.fc3a(F.relu(self.fc3(z))))
        return torch.sigmoid(self.fc4(h)).view(-1, 1, 28, 28)


class DecoderFirst(nn.Module):
    """The decoder is declared first; sigma by softplus, mu through a sigmoid; an unused head."""

    def __init__(self):
        super().__init__()
        self.gen = nn.Sequential(nn.Linear(6, 14), nn.ReLU(), nn.Linear(14, 14), nn.ReLU())
        self.gen_mean = nn.Sequential(nn.Linear(14, 784), nn.Sigmoid())
        self.gen_std = nn.Sequential(nn.Linear(14, 784), nn.Softplus())
        self.inf = nn.Sequential(nn.Linear(784, 14), nn.ReLU(), nn.Linear(14, 14), nn.ReLU())
        self.inf_mean = nn.Sequential(nn.Linear(14, 6), nn.Sigmoid())
        self.inf_std = nn.Sequential(nn.Linear(14, 6), nn.Softplus())

    def encode(self, x):
        h = self.inf(x.flatten(1))
        return self.inf_mean(h), 2 * self.inf_std(h).log()

    def decode(self, z):
        return self.gen_mean(self.gen(z)).view(-1, 1, 28, 28)


class NormedConv(nn.Module):
    """Strided convolutions with batch norm, for colour, on [-1, 1] with a tanh."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.LeakyReLU(0.2)),
        )
        self.fc_mu = nn.Linear(32 * 16, 5)
        self.fc_logvar = nn.Linear(32 * 16, 5)
        self.fc_decode = nn.Linear(5, 32 * 16)
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh()),
        )

    def encode(self, x):
        h = self.encoder(2 * x - 1).flatten(1)
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        return self.decoder(F.relu(self.fc_decode(z)).view(-1, 32, 4, 4)) / 2 + 0.5


class Pooled(nn.Module):
    """Max pooling down, nearest upsampling back, group norm; log sigma."""

    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(
            *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(12 * 49, 30), nn.ReLU()),
        )
        self.z_mean = nn.Linear(30, 3)
        self.z_log_sigma = nn.Linear(30, 3)
        self.dec = nn.Sequential(
            *(nn.Linear(3, 30), nn.ReLU(), nn.Linear(30, 12 * 49), nn.ReLU()),
            *(nn.Unflatten(1, (12, 7, 7)), nn.Upsample(scale_factor=2)),
            *(nn.Conv2d(12, 6, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)),
            *(nn.Conv2d(6, 1, 3, padding=1), nn.Sigmoid()),
        )

    def encode(self, x):
        h = self.enc(x)
        return self.z_mean(h), 2 * self.z_log_sigma(h)

    def decode(self, z):
        return self.dec(z)


class Fused(nn.Module):
    """One layer of 2k at the end, no biases in the convolutions, numbers in the names."""

    def __init__(self):
        super().__init__()
        self.enc1 = nn.Conv2d(1, 8, 4, 2, 1, bias=False)
        self.enc2 = nn.Conv2d(8, 16, 4, 2, 1, bias=False)
        self.enc_bn1 = nn.BatchNorm2d(8)
        self.enc_bn2 = nn.BatchNorm2d(16)
        self.enc_out = nn.Linear(16 * 49, 8)
        self.dec_in = nn.Linear(4, 16 * 49)
        self.dec1 = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.dec2 = nn.ConvTranspose2d(8, 1, 4, 2, 1)

    def encode(self, x):
        h = F.elu(self.enc_bn1(self.enc1(x)))
        h = F.elu(self.enc_bn2(self.enc2(h)))
        return self.enc_out(h.flatten(1)).chunk(2, 1)

    def decode(self, z):
        h = self.dec_in(z).view(-1, 16, 7, 7)
        return torch.sigmoid(self.dec2(F.elu(self.dec1(h))))


class FullyConvolutional(nn.Module):
    """No Linear at all: the last convolution leaves 2k x 1 x 1, z is k x 1 x 1."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            *(nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 4, 2, 1), nn.ReLU()),
            *(nn.Conv2d(16, 24, 4, 2, 1), nn.ReLU()),
        )
        self.to_mu = nn.Conv2d(24, 7, 4)
        self.to_logvar = nn.Conv2d(24, 7, 4)
        self.up = nn.Sequential(
            *(nn.ConvTranspose2d(7, 24, 4), nn.ReLU()),
            *(nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Sigmoid()),
        )

    def encode(self, x):
        h = self.down(x)
        return self.to_mu(h).flatten(1), self.to_logvar(h).flatten(1)

    def decode(self, z):
        return self.up(z[:, :, None, None])


class TwoLayerHeads(nn.Module):
    """Heads of two layers each, layer norm, SiLU, and the linear output of a squared error."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 32), nn.LayerNorm(32), nn.SiLU())
        self.mu = nn.Sequential(nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 4))
        self.logvar = nn.Sequential(nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 4))
        self.decoder = nn.Sequential(
            *(nn.Linear(4, 32), nn.LayerNorm(32), nn.SiLU(), nn.Linear(32, 784))
        )

    def encode(self, x):
        h = self.encoder(x.flatten(1))
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        return self.decoder(z).view(-1, 1, 28, 28)


class OneHot(nn.Module):
    """One-hot label beside x and z, the names of the tutorial."""

    n_classes = 10

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(794, 40)
        self.fc21 = nn.Linear(40, 5)
        self.fc22 = nn.Linear(40, 5)
        self.fc3 = nn.Linear(15, 40)
        self.fc4 = nn.Linear(40, 784)

    def encode(self, x, c):
        h = F.relu(self.fc1(torch.cat([x.flatten(1), c], 1)))
        return self.fc21(h), self.fc22(h)

    def decode(self, z, c):
        h = F.relu(self.fc3(torch.cat([z, c], 1)))
        return torch.sigmoid(self.fc4(h)).view(-1, 1, 28, 28)


class LabelFirst(nn.Module):
    """Only the decoder has the label, before z; seven classes."""

    n_classes = 7

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 40), nn.ReLU())
        self.mu = nn.Linear(40, 5)
        self.logvar = nn.Linear(40, 5)
        self.decoder = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 784))

    def encode(self, x, c):
        h = self.encoder(x)
        return self.mu(h), self.logvar(h)

    def decode(self, z, c):
        return torch.sigmoid(self.decoder(torch.cat([c, z], 1))).view(-1, 1, 28, 28)


class Embedded(nn.Module):
    """The label through an embedding of another width; convolutions, joined behind them."""

    n_classes = 10

    def __init__(self):
        super().__init__()
        self.label_emb = nn.Embedding(10, 6)
        self.conv1 = nn.Conv2d(1, 8, 3, 2, 1)
        self.conv2 = nn.Conv2d(8, 16, 3, 2, 1)
        self.fc = nn.Linear(16 * 49 + 6, 40)
        self.fc_mu = nn.Linear(40, 4)
        self.fc_logvar = nn.Linear(40, 4)
        self.dec_fc = nn.Linear(4 + 6, 16 * 49)
        self.deconv1 = nn.ConvTranspose2d(16, 8, 3, 2, 1, 1)
        self.deconv2 = nn.ConvTranspose2d(8, 1, 3, 2, 1, 1)

    def encode(self, x, c):
        h = F.relu(self.conv2(F.relu(self.conv1(x)))).flatten(1)
        h = F.relu(self.fc(torch.cat([h, self.label_emb(c.argmax(1))], 1)))
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z, c):
        h = self.dec_fc(torch.cat([z, self.label_emb(c.argmax(1))], 1))
        h = F.relu(self.deconv1(F.relu(h).view(-1, 16, 7, 7)))
        return torch.sigmoid(self.deconv2(h))


class Planes(nn.Module):
    """The label as planes beside the image's channels."""

    n_classes = 4

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3 + 4, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 4, 2, 1), nn.ReLU()
        )
        self.mu = nn.Linear(16 * 64, 6)
        self.log_var = nn.Linear(16 * 64, 6)
        self.decoder_input = nn.Linear(6 + 4, 16 * 64)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1)
        )

    def encode(self, x, c):
        planes = c[:, :, None, None].expand(-1, -1, *x.shape[2:])
        h = self.encoder(torch.cat([x, planes], 1)).flatten(1)
        return self.mu(h), self.log_var(h)

    def decode(self, z, c):
        h = self.decoder_input(torch.cat([z, c], 1)).view(-1, 16, 8, 8)
        return torch.sigmoid(self.decoder(h))


class Slopes(nn.Module):
    """Learnt slopes in Sequentials, which have numbers for names: one, or one of each channel."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 8, 4, 2, 1), nn.PReLU(8, 0.4), nn.Conv2d(8, 16, 4, 2, 1)),
            *(nn.BatchNorm2d(16), nn.PReLU(init=0.1)),
        )
        self.mu = nn.Linear(16 * 49, 4)
        self.logvar = nn.Linear(16 * 49, 4)
        self.decoder = nn.Sequential(
            *(nn.Linear(4, 30), nn.PReLU(30, -0.2), nn.Linear(30, 784)),
        )

    def encode(self, x):
        h = self.encoder(x).flatten(1)
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        return torch.sigmoid(self.decoder(z)).view(-1, 1, 28, 28)


class OneSlope(nn.Module):
    """The same learnt slope behind every hidden layer; weight norm on some of them."""

    def __init__(self):
        super().__init__()
        self.act = nn.PReLU(init=0.6)
        self.fc1 = torch.nn.utils.parametrizations.weight_norm(nn.Linear(784, 30))
        self.fc2 = nn.Linear(30, 20)
        self.mu = nn.Linear(20, 3)
        self.log_var = nn.Linear(20, 3)
        self.fc3 = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 30))
        self.fc4 = nn.Linear(30, 784)

    def encode(self, x):
        h = self.act(self.fc2(self.act(self.fc1(x.flatten(1)))))
        return self.mu(h), self.log_var(h)

    def decode(self, z):
        return torch.sigmoid(self.fc4(self.act(self.fc3(z)))).view(-1, 1, 28, 28)


class ChannelsLast(nn.Module):
    """Images are flattened and reshaped in the order of Keras."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 4, 2, 1)
        self.conv2 = nn.Conv2d(8, 16, 4, 2, 1)
        self.z_mean = nn.Linear(16 * 49, 3)
        self.z_log_var = nn.Linear(16 * 49, 3)
        self.dense = nn.Linear(3, 16 * 49)
        self.deconv1 = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.deconv2 = nn.ConvTranspose2d(8, 1, 4, 2, 1)

    def encode(self, x):
        h = F.relu(self.conv2(F.relu(self.conv1(x - 0.5)))).permute(0, 2, 3, 1).flatten(1)
        return self.z_mean(h), self.z_log_var(h)

    def decode(self, z):
        h = self.dense(z).view(-1, 7, 7, 16).permute(0, 3, 1, 2)
        return self.deconv2(F.relu(self.deconv1(h))) + 0.5


class Unpadded(nn.Module):
    """No convolution pads, and the decoder undoes them one by one."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 4)
        self.conv2 = nn.Conv2d(8, 12, 4, 2)
        self.conv3 = nn.Conv2d(12, 16, 3, 2)
        self.fc_mu = nn.Linear(16 * 25, 3)
        self.fc_logvar = nn.Linear(16 * 25, 3)
        self.fc_z = nn.Linear(3, 16 * 25)
        self.deconv1 = nn.ConvTranspose2d(16, 12, 3, 2)
        self.deconv2 = nn.ConvTranspose2d(12, 8, 4, 2, output_padding=1)
        self.deconv3 = nn.ConvTranspose2d(8, 1, 4)

    def encode(self, x):
        h = F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))).flatten(1)
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        h = F.relu(self.deconv1(self.fc_z(z).view(-1, 16, 5, 5)))
        return torch.sigmoid(self.deconv3(F.relu(self.deconv2(h))))


# What a person would have to choose for each, where it is not the default.
MODELS = {
    Wide: {},
    DecoderFirst: {"second head": "sigma by softplus", "head activation": "sigmoid"},
    NormedConv: {
        "hidden activation": "LeakyReLU 0.2",
        "decoder activation": "ReLU",
        "activation before the reshape": "activation",
        "input": "[-1, 1]",
        "output": "tanh",
    },
    Pooled: {},
    Fused: {"hidden activation": "ELU"},
    FullyConvolutional: {},
    TwoLayerHeads: {"hidden activation": "SiLU", "output": "linear"},
    OneHot: {},
    LabelFirst: {"label": "label first"},
    Embedded: {"activation before the reshape": "activation"},
    Planes: {},
    Slopes: {},
    OneSlope: {},
    ChannelsLast: {"flatten order": "H, W, C", "input": "[-0.5, 0.5]", "output": "linear"},
    Unpadded: {
        "image size": "28x28",
        "strides": "stride 1, padding 0; stride 2, padding 0 (x2)",
        "decoder strides": "stride 2, padding 0; stride 2, padding 0, output padding 1; "
        "stride 1, padding 0",
        "activation before the reshape": "none",
    },
}
