"""What is shown to who followed no link.

An owner says otherwise in the environment variable VAE_OPEN: what stands behind the "?" in the
address bar of the view that shall open.
"""

import os
from urllib.parse import parse_qsl

from vae.ui.session import checkpoints

# The shipped run of MNIST, at a 4 that is hard to tell: a telling point.
DEFAULT = "run=mnist-2d&data=mnist+held-out&point=33&manifold=1"


def query() -> dict[str, str]:
    """The view that opens, as a link's query.

    A model that the start names comes first, then what the owner says; a run that is missing is
    then asked for all the same, so that the page says so. Nothing where the default is not there.
    """
    if checkpoints.named_at_start():
        return {}
    if chosen := os.environ.get("VAE_OPEN", "").strip().removeprefix("?"):
        return dict(parse_qsl(chosen))
    default = dict(parse_qsl(DEFAULT))
    runs, _ = checkpoints.found()
    return default if default["run"] in {run.name for run in runs} else {}
