"""A run with the same decoder and another encoder."""

import shutil
from contextlib import suppress
from pathlib import Path

from vae.analysis.embedding import embed
from vae.config import LATTICE
from vae.core.lattice_encoder import N_IMAGES, check_fits, fit_lattice_encoder
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.errors import UserError
from vae.runs import checkpoint, files, film
from vae.runs.checkpoint import CheckpointError, Run
from vae.runs.status import Status, read_status, write_status


def can_be(run: Run) -> bool:
    """Whether the run's model can have a lattice encoder and has none."""
    with suppress(UserError):
        check_fits(run.model_config)
        return run.model_config.encoder != LATTICE
    return False


def refit(run: Run, path: Path) -> Run:
    """Makes a run folder of the run's decoder with a lattice encoder; the run stays as it is.

    The new folder has the run's metrics and film, which are of the training, and a map of its own.

    Args:
        run: finished, of images, with one or two latent dimensions and no condition.
        path: the folder to make.

    Raises:
        CheckpointError: the run is not finished, the folder exists or cannot be written, or a
            file of the run is damaged.
        DatasetError: the data set that it was trained on cannot be had.
        UserError: as `lattice_encoder.check_fits`.
    """
    checkpoint.check_free(path)
    if (state := read_status(run.path).state) != "finished":
        raise CheckpointError(f"{run.path} is {state}; only a finished run can be refitted")
    if run.model_config.encoder == LATTICE:
        raise CheckpointError(f"{run.path} has a lattice encoder already")
    check_fits(run.model_config)
    train_images = catalogue.load(run.train_config.dataset, "train").images[:N_IMAGES]
    held_out = catalogue.load(run.train_config.held_out_dataset, "test")
    model = fit_lattice_encoder(run.load_model(), to_unit(train_images), run.train_config.seed)
    draft = files.temporary(path)
    try:
        made = checkpoint.create(draft / path.name, model.config, run.train_config)
        checkpoint.save_model(made, model)
        checkpoint.save_metrics(made, run.load_metrics())
        for epoch in film.epochs(run):
            film.save(made, film.load(run, epoch))
        checkpoint.save_embedding(made, embed(model, held_out))
        write_status(made.path, Status("finished"))
        return checkpoint.move(made, path)
    finally:
        with suppress(OSError):
            shutil.rmtree(draft, ignore_errors=True)
