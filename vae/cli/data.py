"""The command for data of one's own: data add, list, remove, show."""

import argparse
import sys
from functools import partial
from pathlib import Path

from vae.cli.common import Commands, add_parser, progress_bar, show
from vae.data import catalogue, own
from vae.data.dataset import DatasetError, Source

_MOST_COLUMNS = 60  # that are listed


def add(commands: Commands) -> None:
    """Adds this command."""
    data = commands.add(
        "data",
        _list,
        "add data of your own as a data set, list or remove such sets",
        "Folders or .zip files of pictures, one subfolder per class; arrays of images, of rows or "
        "of series in an .npz or .npy; tables as .csv, .parquet or .h5ad. One point in five is "
        "held out.",
    )
    add = partial(add_parser, data.add_subparsers(metavar="add|list|remove|show"))
    new = add("add", _add, "survey a folder or file, and keep what is in it as a data set")
    add("list", _list, "list the data sets of your own")
    gone = add("remove", _remove, "delete a data set of your own")
    look = add("show", _show, "survey a folder or file, and keep nothing")
    for action in (new, look):
        action.add_argument(
            "path",
            type=Path,
            metavar="PATH",
            help="folder, .zip, .npz, .npy, .csv, .parquet or .h5ad",
        )
        action.add_argument(
            "--labels",
            type=Path,
            metavar="FILE.csv",
            help="rows of file,label for pictures; for arrays one label per image, in order",
        )
        action.add_argument(
            "--label",
            metavar="COLUMN",
            help="of a table, with the classes; '' for none [one that is called label, class, ...]",
        )
        action.add_argument(
            "--leave-out", metavar="COLUMN,...", help="columns of a table that are not used"
        )
        action.add_argument("--size", metavar="HxW", help="in pixels [as the survey says]")
        colours = action.add_mutually_exclusive_group()
        colours.add_argument("--colour", action="store_true", help="three channels")
        colours.add_argument("--grey", action="store_true", help="one channel")
    new.add_argument("--name", required=True, help="that `train --dataset` then takes")
    new.add_argument(
        "--skip-bad", action="store_true", help="leave out the files that cannot be used"
    )
    gone.add_argument("name", metavar="NAME")


def _add(options: argparse.Namespace) -> None:
    path = catalogue.own_path(options.name)
    if path.exists():
        raise DatasetError(
            f"a data set named {options.name} exists already in {path.parent}; choose another "
            f"name, or `python -m vae data remove {options.name}` first"
        )
    if own.is_table(options.path):
        found = _planned(options)
        _print_plan(found)
        _say_added(options.name, own.add_table(found, options.name), "points")
        return
    survey = own.survey(options.path, options.labels)
    shape = _shape_of(options, survey)
    _print_survey(survey, shape)
    if survey.n_bad and not options.skip_bad:
        raise _bad_files(survey.n_bad, survey.n_images)
    try:
        with progress_bar("image", desc="images", leave=False) as (_, progress):
            source = own.add(
                options.path,
                options.name,
                shape,
                options.labels,
                None if options.skip_bad else 0,
                progress,
            )
    except own.BadFiles as error:  # those that only decoding showed
        _print_bad(error.bad, error.n_bad)
        raise _bad_files(error.n_bad, error.n_good) from error
    _say_added(options.name, source, "images")


def _say_added(name: str, source: Source, what: str) -> None:
    show(
        f"{name}: {source.n_train:,} {what} to train on and the others held out, in "
        f"{catalogue.own_path(name)}; `python -m vae train --dataset {name}`"
    )


def _planned(options: argparse.Namespace) -> own.Plan:
    left = [part.strip() for part in (options.leave_out or "").split(",") if part.strip()]
    return own.plan(options.path, options.label, left)


def _print_plan(found: own.Plan) -> None:
    for column in found.columns[:_MOST_COLUMNS]:
        parts = [column.why] if column.why else []
        if column.values.ndim == 1 and len(column.values):
            parts.append(f"{column.low:.4g} to {column.high:.4g}, mean {column.mean:.4g}")
        if column.n_missing:
            parts.append(f"{column.n_missing:,} missing")
        show(f"{column.name[:24]:24} {column.becomes:9} {'; '.join(parts)}")
    if (more := len(found.columns) - _MOST_COLUMNS) > 0:
        show(f"and {more:,} more columns")
    show(found.said)


def _list(_: argparse.Namespace) -> None:
    paths = sorted((catalogue.folder() / "own").glob("*.safetensors"))
    if not paths:
        show(f"no data sets of your own in {catalogue.folder()}; `python -m vae data add` adds one")
    for path in paths:
        try:
            source = catalogue.describe(path.stem)
        except DatasetError as error:
            show(f"{path.stem:24} cannot be used: {error}")
            continue
        shape = "x".join(map(str, source.image_shape))
        show(f"{source.title:24} {shape:10} {source.n_train:>7,} to train on; {source.note}")


def _remove(options: argparse.Namespace) -> None:
    own.remove(options.name)
    show(f"{options.name} removed; runs that were trained on it stay, without its images")


def _show(options: argparse.Namespace) -> None:
    if own.is_table(options.path):
        _print_plan(_planned(options))
        return
    survey = own.survey(options.path, options.labels)
    _print_survey(survey, _shape_of(options, survey))


def _shape_of(options: argparse.Namespace, survey: own.Survey) -> tuple[int, int, int]:
    """(C, H, W) as the options say, else as the survey does."""
    C, H, W = survey.image_shape
    if options.size is not None:
        H, W = own.parse_size(options.size)
    if options.colour or options.grey:
        C = 3 if options.colour else 1
    return C, H, W


def _print_survey(survey: own.Survey, image_shape: tuple[int, int, int]) -> None:
    classes = [f"{name} ({n:,})" for name, n in survey.classes.items()]
    sizes = [f"{H} x {W} ({n:,})" for (H, W), n in survey.sizes.items()]
    rows = {
        survey.kind: survey.name,
        "images": f"{survey.n_images:,}, {'grey' if survey.is_grey else 'colour'}",
        f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}": _listed(
            classes, len(classes)
        ),
        "height x width": _listed(sizes, survey.n_sizes),
        "become": survey.treatment(image_shape),
    }
    if survey.n_other:
        rows["left alone"] = f"{survey.n_other:,} other files"
    for name, text in rows.items():
        show(f"{name:14} {text}")
    if survey.n_bad:
        show(f"{'bad files':14} {survey.n_bad:,}", flush=True)
        _print_bad(survey.bad, survey.n_bad)


def _listed(texts: list[str], n: int) -> str:
    """The first dozen, and how many more of n there are."""
    shown = texts[:12]
    return ", ".join(shown) + (f" and {n - len(shown):,} more" if n > len(shown) else "")


def _bad_files(n_bad: int, n_good: int) -> DatasetError:
    return DatasetError(
        f"{n_bad:,} of {n_bad + n_good:,} files cannot be used, so nothing was kept; mend them, or "
        "leave them out with --skip-bad"
    )


def _print_bad(bad: tuple[tuple[str, str], ...], n_bad: int) -> None:
    for name, reason in bad:
        show(f"  {name}: {reason}", file=sys.stderr)
    if n_bad > len(bad):
        show(f"  and {n_bad - len(bad):,} more", file=sys.stderr)
