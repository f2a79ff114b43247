"""Why a file does not open: what was found, what is missing, and what to do next."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from vae.formats.wording import printable
from vae.runs.checkpoint import CheckpointError

_MOST = 600  # characters of a part, and of a path


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes:
        do: in words, as an instruction.
        command: what is typed for it, in a shell or in Python; "{path}" stands for the file. ""
            where nothing is.
        visitor: the same for somebody who uploaded the file, who reaches neither the server's
            folders nor its shell; "" where `do` and `command` serve them, too.
        visitor_command: what they can type, in their own Python or on their own computer.
    """

    do: str
    command: str = ""
    visitor: str = ""
    visitor_command: str = ""


class Refusal(CheckpointError):
    """A file that does not open.

    Attributes:
        path: of the file.
        found: what it is, as a clause whose subject is the file: "holds a VQ-VAE".
        missing: what it would need, as a clause: "there is no Gaussian q(z|x) to look at".
        step: what to do next.
    """

    def __init__(self, path: Path | str, found: str, missing: str, step: Step) -> None:
        super().__init__(path, found, missing, step)  # of which a copy is made
        self.path, self.step = path, step
        self.found, self.missing = printable(found, _MOST), printable(missing, _MOST)

    @property
    def command(self) -> str:
        """What to type next, with the file's path in it; "" where that is nothing."""
        return self.step.command.format(path=shlex.quote(printable(str(self.path), _MOST)))

    def __str__(self) -> str:
        """The three parts as one sentence."""
        return _sentence(self, printable(str(self.path), _MOST), self.step.do, self.command)

    def for_visitor(self) -> "Refusal":
        """The same, told to who uploaded the file: under its own name, and with their next step."""
        step, name = self.step, Path(self.path).name
        if step.visitor:
            step = Step(step.visitor, step.visitor_command)
        return Refusal(name, self.found, self.missing, step)


def _sentence(refusal: Refusal, name: str, do: str, command: str) -> str:
    said = f"{name} {refusal.found}; {refusal.missing}; next: {do}"
    return f"{said}: {command}" if command else said


_HERE = "streamlit run app.py -- --model my_vae.py:VAE --weights {path}"

# What is next, by what is the matter. Of Python: typed where the model is.
SAVE_WEIGHTS = Step(
    "save the weights alone, where the model is, and open that file",
    "torch.save(model.state_dict(), 'model.pt')",
)
SAVE_TRUSTED = replace(
    SAVE_WEIGHTS,
    do="open it with the library that wrote it, in a place you trust, and save its weights alone",
)
SAVE_KERAS = Step(
    "save the weights alone, where the model is, and open that file",
    "model.save_weights('vae.weights.h5')",
)
SAVE_BOTH = Step(
    "save encoder and decoder as one file, where the model is",
    "torch.save({{'encoder': encoder.state_dict(), 'decoder': decoder.state_dict()}}, 'vae.pt')",
)
EXPORT = Step(
    "export it anew, where the model is",
    "torch.onnx.export(decoder, (z,), 'decoder.onnx', external_data=False)",
)
BESIDE = Step(
    "put encoder.onnx (x to mu and logvar) and decoder.onnx (z to images) into a folder",
    "python -m vae evaluate FOLDER",
    "choose encoder.onnx and decoder.onnx together",
)
OWN_CLASS = Step(
    "open it with the class that made it (its arguments by --arg NAME=VALUE)",
    "python -m vae evaluate --model my_vae.py:VAE --weights {path}",
    "open it with its class in ELBO Room on your own computer, as an upload never brings code",
    _HERE,
)
COPY_AGAIN = Step(
    "copy it again from where it came, and compare both",
    "sha256sum {path}",
    "upload it again, from where it is whole",
)
OTHER_FILE = Step(
    "give the file with the weights",
    "python -m vae evaluate model.pt",
    "choose the file with the weights",
)
EARLIER = Step(
    "give an earlier checkpoint of that training",
    "python -m vae evaluate earlier.pt",
    "choose an earlier checkpoint of that training",
)
INTO_FOLDER = Step(
    "put a file of weights into it, or the config.json and model.safetensors of a run",
    "python -m vae list",
    "choose a file of weights",
)
NAME_ONE = Step(
    "name the one that is meant",
    "python -m vae evaluate {path}/NAME",
    "choose the one that is meant",
)
AGAIN = Step("open it again", "python -m vae evaluate {path}", "upload it again")
LOOK = Step(
    "see what is there and may be read",
    "ls -ld {path}",
    "upload it again",
)
TRAIN = Step(
    "train a VAE with a Gaussian q of the same images, which opens",
    "python -m vae train --dataset mnist",
    "train a VAE with a Gaussian q of the same images on the Train page",
)
TRAIN_VECTORS = Step(
    "train a VAE with a Gaussian q of the same rows, which opens",
    "python -m vae train --dataset wine",
    "train a VAE with a Gaussian q of the same rows on the Train page",
)


def install(package: str) -> Step:
    """To install a package that reads the file."""
    return Step(
        "install it, and open the file again",
        f"pip install {package}",
        f"ask who runs this server to install {package}",
    )
