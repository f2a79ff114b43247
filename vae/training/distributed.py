"""Several processes that train or evaluate one model together, as torchrun starts them.

A process that was started alone is a group of one, and nothing here costs it anything.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from vae.errors import UserError


class PeerLost(UserError):
    """Another process of the group is gone, so that this one cannot go on."""

    exit_code = 1

    def __init__(self, error: Exception) -> None:
        # Of "[/x/pair.cc:561] Connection closed by peer [127.0.0.1]:5261. This is ..." the middle.
        reason = re.sub(r"\[[^\]]*\](:\d+)?", "", next(iter(str(error).splitlines()), ""))
        reason = " ".join(reason.split(". ")[0].split())[:100]
        super().__init__(
            f"another process of this training is gone ({reason}); the last whole epoch is kept, "
            "and --resume goes on from it"
        )


@contextmanager
def group(device: str | None = None) -> Iterator[torch.device | None]:
    """Joins the other processes that torchrun started, for as long as the block lasts.

    Args:
        device: what was asked for; with several processes and "cuda", or nothing on a machine
            that has it, each takes the device of its own local rank.

    Yields:
        The device of this process where the group decides it, else None.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield None
        return
    on_cuda = torch.cuda.is_available() and (device or "cuda").startswith("cuda")
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_cuda else None
    if own is not None:
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield own
        with peers():
            # All leave together: one that tears its threads down while another is still at work
            # was seen to abort.
            dist.barrier()
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 for one alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(items: Tensor) -> Tensor:
    """Every size()-th of the items, along the first axis, beginning with the rank()-th."""
    return items[rank() :: size()] if size() > 1 else items


def add_up(values: Tensor) -> Tensor:
    """The sum of all processes' tensors, in place.

    Raises:
        PeerLost: one of them is gone.
    """
    if size() > 1:
        with peers():
            dist.all_reduce(values)
    return values


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process. Raises PeerLost."""
    return bool(flag) if size() == 1 else bool(add_up(torch.tensor(int(flag), device=device)))


def gather(value: Any) -> list[Any] | None:
    """What each process has, by rank, for rank 0; None for the others. Raises PeerLost."""
    if size() == 1:
        return [value]
    found = [None] * size() if rank() == 0 else None
    with peers():
        dist.gather_object(value, found)
    return found


def rows_of(n_points: int, shared: bool) -> Tensor:
    """The indices of the points that this process computes: all, or its share."""
    rows = torch.arange(n_points)
    return share(rows) if shared else rows


def together(rows: np.ndarray, shared: bool) -> np.ndarray:
    """The rows of all processes in the order of the points; each has those of `rows_of`.

    Raises PeerLost.
    """
    shares = gather(rows) if shared else None
    if shares is None:
        return rows
    whole = np.empty((sum(map(len, shares)), *rows.shape[1:]), rows.dtype)
    for first, its_share in enumerate(shares):
        whole[first :: len(shares)] = its_share
    return whole


@contextmanager
def peers() -> Iterator[None]:
    """What a lost process makes torch raise in the block is raised as PeerLost."""
    try:
        yield
    except RuntimeError as error:
        # torch has no class of error for it: DistBackendError with nccl, RuntimeError with gloo.
        if size() == 1 or not _is_about_a_peer(error):
            raise
        raise PeerLost(error) from error


def _is_about_a_peer(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return any(word in text for word in ("gloo", "peer", "nccl", "connection"))
