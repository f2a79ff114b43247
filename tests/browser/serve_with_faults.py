"""`streamlit`, but no browser can run a tanh, and what it is sent of a silu is cut short."""

import dataclasses
import sys
from pathlib import Path

from streamlit.web import cli
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vae import model
from vae.live import pack
from vae.live.program import Program, compile_module

model._ACTIVATIONS["tanh"] = nn.LogSigmoid


def compile_and_cut(module: nn.Module, input_shape: tuple[int, ...]) -> Program:
    program = compile_module(module, input_shape)
    if any(isinstance(layer, nn.SiLU) for layer in module.modules()):
        program = dataclasses.replace(program, weights=program.weights[:-3])
    return program


# The header goes on to state what the program needs: it and the weights then disagree.
pack.compile_module = compile_and_cut

cli.main()
