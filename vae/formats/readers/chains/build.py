"""Networks out of a plan and the values of its facts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.core.likelihood import Bernoulli, Likelihood, fixed_gaussian, unit_gaussian
from vae.formats.card import SIZE, Parts
from vae.formats.meanings import STATISTICS
from vae.formats.readers.chains import blocks
from vae.formats.readers.chains.blocks import Block
from vae.formats.readers.chains.geometry import OVERLAPPING, Stage
from vae.formats.readers.chains.layers import BATCH_NORM, EMBEDDING, PRELU, Layer
from vae.formats.readers.chains.modules import (
    BatchNorm,
    Chain,
    ChainDecoder,
    ChainEncoder,
    Enlarge,
    FlattenLast,
    Joined,
    LogVariance,
    MaxPool,
    MeanPool,
    OverlappingPool,
    Shrink,
    Sum,
    UnflattenLast,
)
from vae.formats.readers.chains.plan import Plan, Size, acts_before_norm, norm_is_told
from vae.formats.readers.chains.reading import (
    BACK,
    BEFORE_BLOCKS,
    BLOCKS,
    ENLARGED,
    FIRST_BACK,
    FIRST_BACK_VALUES,
    GROUPS,
    IN_BLOCKS,
    NORM_PLACES,
    NORMS,
    ORDER,
    ORDERS,
    SAME,
    STRIDES,
    WITHIN,
    groups_of,
)
from vae.formats.readers.chains.told import After
from vae.formats.readers.chains.units import Step
from vae.formats.readers.layers import Affine, State


def activation(name: str) -> nn.Module | None:
    """The module of a name of `reading.ACTIVATIONS`; None for "none"."""
    plain = {
        **{"ReLU": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "ELU": nn.ELU},
        **{"GELU": nn.GELU, "SiLU": nn.SiLU, "SELU": nn.SELU, "softplus": nn.Softplus},
    }
    if name.startswith("LeakyReLU"):
        return nn.LeakyReLU(float(name.split()[1]))
    return plain[name]() if name in plain else None


def parts(plan: Plan, values: Mapping[str, str], state: State) -> Parts:
    """Encoder, decoder and likelihood.

    Args:
        plan: what the shapes say.
        values: of each fact, by its name.
        state: the tensors by name; on the meta device, too.
    """
    builder = _Builder(plan, values, state)
    return builder.encoder(), *builder.decoder()


def decoder_of(plan: Plan, values: Mapping[str, str], state: State) -> tuple[nn.Module, Likelihood]:
    """The decoder and the likelihood; arguments as of `parts`."""
    return _Builder(plan, values, state).decoder()


class _Builder:
    def __init__(self, plan: Plan, values: Mapping[str, str], state: State) -> None:
        self.plan, self.values, self.state = plan, values, state
        self.size = size_of(plan, values)
        self.channels_last = plan.told.channels_last or values.get(ORDER) == ORDERS[1]

    def encoder(self) -> nn.Module:
        structure, label = self.plan.structure, self.plan.structure.label
        hidden = self.values["hidden activation"]
        layers: list[nn.Module] = []
        mean, std = STATISTICS.get(self.values["input"], (0.0, 1.0))  # of vectors the data's own
        if (mean, std) != (0.0, 1.0):
            layers.append(Affine(1 / std, -mean / std))
        steps = (*structure.body, *structure.heads.mu)
        if steps[0].is_flat:
            layers.append(self._flatten())
        stages = self._stages(STRIDES, self.size.encoder)
        n = len(structure.body)
        body = self._chain(
            steps, n, hidden, stages, "activation before the heads", self.plan.encoder_after
        )
        rest = [stages.pop(0) for _ in range(sum(not s.is_flat for s in structure.heads.mu))]
        after = self.plan.encoder_after[n:]
        mu = self._chain(structure.heads.mu, None, hidden, list(rest), "", after)
        if structure.heads.second:
            second = self._chain(structure.heads.second, None, hidden, list(rest), "", after)
        else:
            mu, second = self._halves(mu)
        if structure.heads.second and self.values.get("heads") == "mu second":
            mu, second = second, mu
        act = activation(self.values["head activation"])
        made = self._label(label.encoder_layer)
        encoder = ChainEncoder(
            Chain([*layers, *body], made),
            Chain([*mu, *([act] if act else [])], made),
            Chain(second, made),
            LogVariance(self.values["second head"]),
        )
        return encoder.eval()

    def decoder(self) -> tuple[nn.Module, Likelihood]:
        hidden, back = self.values["hidden activation"], self.values.get("decoder activation", SAME)
        scale, likelihood = self._output()
        layers = self._from_z()
        stages = self._stages(BACK, self.size.decoder)
        steps = self.plan.structure.decoder
        body = self._chain(
            steps,
            None,
            hidden if back == SAME else back,
            stages,
            "activation before the reshape",
            self.plan.decoder_after,
        )
        layers += body
        if steps[-1].is_flat:
            if self.plan.is_table:
                layers.append(nn.Unflatten(1, (1, 1, self.size.side)))
            else:
                layers.append(self._unflatten(self.plan.channels, self.size.side))
        layers += scale
        made = self._label(self.plan.structure.label.decoder_layer)
        return ChainDecoder(Chain(layers, made)).eval(), likelihood

    def _output(self) -> tuple[list[nn.Module], Likelihood]:
        output = self.values["output"]
        if self.plan.is_table:
            ends = {"sigmoid": [nn.Sigmoid()], "tanh": [nn.Tanh()]}
            return ends.get(output, []), unit_gaussian(self.size.side)
        if output == "sigmoid":
            return [], Bernoulli()
        mean, std = STATISTICS[self.values["input"]]
        layers: list[nn.Module] = [nn.Tanh()] if output == "tanh" else []
        if (mean, std) != (0.0, 1.0):
            layers.append(Affine(std, mean))
        return layers, fixed_gaussian(std**2)

    def _stages(self, name: str, found: Sequence) -> list[Stage]:
        if not found:
            return []
        wanted = self.values.get(name)
        return list(next((w for w in found if w.text() == wanted), found[0]).stages)

    def _from_z(self) -> list[nn.Module]:
        first = self.plan.structure.decoder[0]
        k = self.plan.structure.heads.latent_dim
        if first.is_flat:
            return []
        side = math.isqrt(k // first.inputs)
        return [nn.Unflatten(1, (first.inputs, side, side))]

    def _chain(
        self,
        steps: Sequence[Step],
        end: int | None,
        act: str,
        stages: list[Stage],
        before: str,
        told: Sequence[After | None],
    ) -> list[nn.Module]:
        """The layers of steps[:end], and what stands between them and the next one.

        Args:
            steps: of a network; what comes after `end` reads the result.
            end: None for all.
            act: the activation where the file does not say one.
            stages: of its convolutions, which are taken off the list.
            before: the fact that says whether one stands at the end, or before a reshape.
            told: what the file says of what stands behind each step.
        """
        layers: list[nn.Module] = []
        end = len(steps) if end is None else end
        for i, step in enumerate(steps[:end]):
            after = steps[i + 1] if i + 1 < len(steps) else None
            stage = None if step.is_flat else stages.pop(0)
            layers += self._layer(step, stage, act, after)
            if after is None:
                return layers + self._norms(step, None, None)
            here, first, name = told[i], "none", act
            if here is not None:
                first, name = here.before, here.act
            elif isinstance(step.layer, Block):
                name = act if step.norms else "none"  # what belongs to the block is in it
            elif own := self._own_activation(
                step, i, after, before, end < len(steps) and i + 1 == end
            ):
                name = own
            elif isinstance(after.layer, Block) and self.values.get(BEFORE_BLOCKS) == "none":
                name = "none"
            behind = not norm_is_told(step) and self.values.get(NORMS) == NORM_PLACES[1]
            if here is None and (behind or acts_before_norm(step)):
                first, name = name, "none"
            layers += self._norms(step, activation(first), activation(name))
            if stage is not None and stage.pool:
                layers.append(_pool(stage.pool, step.outputs))
            layers += self._between(step, after)
        return layers

    def _own_activation(
        self, step: Step, i: int, after: Step, before: str, is_last: bool
    ) -> str | None:
        """The activation behind a Linear that does not do as the others; None for theirs."""
        value = self.values.get(before, "activation")
        reshaped = before.endswith("reshape") and not after.is_flat
        if step.is_flat and (reshaped or is_last) and value != "activation":
            return value
        first = self.values.get(FIRST_BACK, FIRST_BACK_VALUES[0])
        if not i and before.endswith("reshape") and first != FIRST_BACK_VALUES[0]:
            return first
        return None

    def _layer(
        self, step: Step, stage: Stage | None, act: str, after: Step | None
    ) -> list[nn.Module]:
        """A layer with weights, and what enlarges its inputs."""
        if isinstance(step.layer, Block):
            last = after is None or not isinstance(after.layer, Block)
            return self._block(step, step.layer, stage, act, last)
        if stage is None:
            return [self._linear(step)]
        return [*self._enlarged(stage), self._conv(step, stage)]

    def _enlarged(self, stage: Stage | None) -> list[nn.Module]:
        if stage is None or stage.up == 1:
            return []
        return [Enlarge(stage.up, stage.odd, self.values.get(ENLARGED, "nearest"))]

    def _block(
        self, step: Step, block: Block, stage: Stage | None, act: str, is_last: bool
    ) -> list[nn.Module]:
        """A residual block, as `blocks.KINDS` says it."""
        kind = self.values.get(BLOCKS, blocks.NO_SUM)
        act_first = kind in (blocks.FIRST, blocks.FIRST_END, blocks.SHARED, blocks.SHARED_END)
        stride = 1 if stage is None else stage.stride
        enlarged = self._enlarged(stage)
        within = self.values.get(WITHIN) == IN_BLOCKS[1]
        strided = next((i for i, m in enumerate(block.main) if m.kernel > 1), 0)
        n = len(block.main)
        pieces: list[list[nn.Module]] = []
        for i, (layer, norms) in enumerate(zip(block.main, block.norms, strict=True)):
            made = self._plain(layer, stride if i == strided else 1)
            made = [*(enlarged if within and i == n - 1 else []), made]
            read = [self._norm(norm, step) for norm in norms]
            fold = i == n - 1 and kind == blocks.NORMED
            acts = [made_act] if (made_act := activation(act)) else []
            if act_first:
                first = [*read, *acts, *made] if block.norm_first else [*acts, *made, *read]
            else:
                first = [*read, *made] if block.norm_first else [*made, *([] if fold else read)]
                first += acts if i < n - 1 or kind == blocks.NO_SUM else []
            pieces.append(first)
        main = [module for piece in pieces for module in piece]
        before = [] if within else enlarged
        if kind == blocks.NO_SUM:
            return [*before, *main]
        shared: list[nn.Module] = []
        if kind in (blocks.SHARED, blocks.SHARED_END):
            at = next(m for m, x in enumerate(main) if isinstance(x, nn.Linear | nn.Conv2d))
            shared, main = main[:at], main[at:]
        skip: list[nn.Module] = list(enlarged if within else [])
        if block.shortcut is not None:
            skip.append(self._plain(block.shortcut, stride))
            skip += [self._norm(norm, step) for norm in block.shortcut_norms]
        last = [self._norm(norm, step) for norm in block.norms[-1]] if kind == blocks.NORMED else []
        ends = kind in (blocks.AFTER, blocks.NORMED)
        ends |= is_last and kind in (blocks.FIRST_END, blocks.SHARED_END)
        behind = activation(act) if ends else None
        return [*before, Sum(shared, main, skip, [*last, *([behind] if behind else [])])]

    def _plain(self, layer: Layer, stride: int) -> nn.Module:
        """A layer of a residual block, which pads so that sides stay."""
        weight, bias = self.state[f"{layer.path}.weight"], self.state.get(f"{layer.path}.bias")
        if weight.ndim == 2:
            return _linear(weight, bias)
        return _conv(weight, bias, Stage(layer.kernel, stride, layer.kernel // 2))

    def _norms(self, step: Step, first: nn.Module | None, act: nn.Module | None) -> list[nn.Module]:
        """The norms of a layer, and the activations before and behind them."""
        norms = [self._norm(norm, step) for norm in step.norms]
        if any(norm.kind == PRELU for norm in step.norms):
            return norms
        return [*([first] if first else []), *norms, *([act] if act else [])]

    def _between(self, step: Step, after: Step) -> list[nn.Module]:
        if step.is_flat and not after.is_flat:
            return [self._unflatten(after.inputs, math.isqrt(step.outputs // after.inputs))]
        if not step.is_flat and after.is_flat:
            return [Shrink(math.isqrt(after.inputs // step.outputs)), self._flatten()]
        return []

    def _flatten(self) -> nn.Module:
        return FlattenLast() if self.channels_last else nn.Flatten()

    def _unflatten(self, channels: int, side: int) -> nn.Module:
        if self.channels_last:
            return UnflattenLast(channels, side)
        return nn.Unflatten(1, (channels, side, side))

    def _halves(self, head: list[nn.Module]) -> tuple[list[nn.Module], list[nn.Module]]:
        """One layer of 2k outputs as two of k."""
        way = self.values.get("heads", "mu first")
        layer = head[-1]

        def half(which: int) -> nn.Module:
            rows = slice(which, None, 2) if way == "interleaved" else None
            if rows is None:
                which = which if way == "mu first" else 1 - which
            return _rows(layer, rows, which)

        return [*head[:-1], half(0)], [*head[:-1], half(1)]

    def _label(self, layer: Layer | None) -> nn.Module | None:
        if layer is None:
            return None
        weight = self.state[f"{layer.path}.weight"]
        weight = weight.mT.contiguous() if layer.kind == EMBEDDING else weight
        made = _linear(weight, self.state.get(f"{layer.path}.bias"))
        act = activation(self.values.get("label activation", "none"))
        return nn.Sequential(made, act) if act else made

    def _linear(self, step: Step) -> nn.Module:
        path = step.layer.path
        weight, bias = self.state[f"{path}.weight"], self.state.get(f"{path}.bias")
        own, label = self._split(weight, step)
        if label is None:
            return _linear(own, bias)
        return Joined(_linear(own, bias), _linear(label, None))

    def _split(self, weight: Tensor, step: Step, axis: int = 1) -> tuple[Tensor, Tensor | None]:
        if not step.extra:
            return weight, None
        first = self.values.get("label") == "label first"
        sizes = [step.extra, step.inputs] if first else [step.inputs, step.extra]
        a, b = (part.contiguous() for part in weight.split(sizes, axis))
        return (b, a) if first else (a, b)

    def _conv(self, step: Step, stage: Stage) -> nn.Module:
        path = step.layer.path
        weight, bias = self.state[f"{path}.weight"], self.state.get(f"{path}.bias")
        own, label = self._split(weight, step, 0 if step.transposed else 1)
        made = _conv(own, bias, stage)
        return made if label is None else Joined(made, _conv(label, None, stage))

    def _norm(self, layer: Layer, step: Step) -> nn.Module:
        names = ("weight", "bias", "running_mean", "running_var")
        paths = {name: f"{layer.path}.{name}" for name in names}
        found = {name: self.state[path] for name, path in paths.items() if path in self.state}
        width = layer.shape[0]
        if layer.kind == PRELU:
            act = nn.PReLU(width, device="meta")
            act.weight = _frozen(found["weight"])
            return act
        if layer.kind == BATCH_NORM:
            eps = self.plan.told.eps(layer.path)
            norm = BatchNorm(width, eps, affine="weight" in found, device="meta")
            norm.running_mean, norm.running_var = found["running_mean"], found["running_var"]
            norm.num_batches_tracked = None
        elif len(layer.shape) == 1 and not step.is_flat:
            groups = self.plan.told.number(layer.path, "num_groups")
            if groups is None:
                groups = groups_of(self.values.get(GROUPS, ""), width)
            norm = nn.GroupNorm(groups, width, self.plan.told.eps(layer.path), device="meta")
        else:
            eps = self.plan.told.eps(layer.path)
            norm = nn.LayerNorm(list(layer.shape), eps, device="meta")
        if "weight" in found:
            norm.weight = _frozen(found["weight"])
            norm.bias = _frozen(found.get("bias", torch.zeros_like(found["weight"])))
        return norm


def _pool(side: int, channels: int) -> nn.Module:
    if side == OVERLAPPING:
        return OverlappingPool()
    return MaxPool(side) if side > 0 else MeanPool(-side, channels)


def size_of(plan: Plan, values: Mapping[str, str]) -> Size:
    """The size of image that the values say."""
    return next((s for s in plan.sizes if str(s) == values.get(SIZE)), plan.sizes[0])


def _frozen(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=value.device.type != "meta")


class _Undrawn:
    """Draws no weights, as those of the file follow: that takes longer than all the rest."""

    def reset_parameters(self) -> None:
        pass


class _Linear(_Undrawn, nn.Linear):
    pass


class _Conv2d(_Undrawn, nn.Conv2d):
    pass


class _ConvTranspose2d(_Undrawn, nn.ConvTranspose2d):
    pass


_UNDRAWN = {nn.Linear: _Linear, nn.Conv2d: _Conv2d, nn.ConvTranspose2d: _ConvTranspose2d}


def _undrawn(kind: type[nn.Module], *sizes: int, bias: bool) -> Any:
    """A layer of that very class, without weights."""
    layer = _UNDRAWN[kind](*sizes, bias=bias, device="meta")
    layer.__class__ = kind
    return layer


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = _undrawn(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = _frozen(weight)
    if bias is not None:
        layer.bias = _frozen(bias)
    return layer


def _conv(weight: Tensor, bias: Tensor | None, stage: Stage) -> nn.Module:
    if stage.grown:
        weight = F.pad(weight, (1, 0, 1, 0))
    a, b, kernel, _ = weight.shape
    if stage.transposed:
        sizes = a, b, kernel, stage.stride, stage.padding, stage.output_padding
        layer = _undrawn(nn.ConvTranspose2d, *sizes, bias=bias is not None)
    else:
        sizes = b, a, kernel, stage.stride, stage.padding
        layer = _undrawn(nn.Conv2d, *sizes, bias=bias is not None)
    layer.weight = _frozen(weight)
    if bias is not None:
        layer.bias = _frozen(bias)
    return layer


def _rows(layer: nn.Module, rows: slice | None, which: int) -> nn.Module:
    """A layer with half of the outputs of another one."""
    if isinstance(layer, Joined):
        return Joined(_rows(layer.own, rows, which), _rows(layer.label, rows, which))
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    k = layer.weight.shape[0] // 2
    rows = rows or slice(which * k, (which + 1) * k)
    weight = layer.weight.detach()[rows].contiguous()
    bias = None if layer.bias is None else layer.bias.detach()[rows].contiguous()
    if isinstance(layer, nn.Linear):
        return _linear(weight, bias)
    stage = Stage(layer.kernel_size[0], layer.stride[0], int(layer.padding[0]))
    return _conv(weight, bias, stage)
