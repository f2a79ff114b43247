"""Data of one's own -> a data set like the others: pictures, arrays of them, tables, series.

    survey    what is in it, from headers alone: counts, classes, sizes, what cannot be used
    preview   a few images of each class as they would be used
    read      a Dataset of it
    add       keeps that in the data folder, where `vae.data.catalogue` finds it by its name
    plan      what becomes of each column of a table, or of an array of rows or series
    add_table keeps those

What is done to the images, and said wherever they are described: each is turned as its EXIF
orientation says, laid on black where it is transparent, made grey or colour, and stretched or
shrunk to one size (`dataset.pixels_of`; the ratio of the sides is not kept). Values become 0 to
255 by the range of the whole set (`own.values`). Labels are never shifted or dropped without a
word: what can be meant in two ways is refused, what is not used is said.

Whatever a file claims is held against `own.limits` before anything of it is unpacked, and no
name that comes from outside is ever used to write: a set is kept under a name of letters, digits
and a few signs. Links that lead out of a folder are not followed. Nothing is unpickled.
"""

from vae.data.own.columns import TABLES, Column, Plan, column_names, is_table, plan
from vae.data.own.contents import Survey
from vae.data.own.reading import (
    ARCHIVES,
    BadFiles,
    add,
    add_table,
    parse_size,
    preview,
    read,
    survey,
)
from vae.data.own.store import kept, own_path, remove
from vae.data.own.store import own_names as names

__all__ = [
    "ARCHIVES",
    "TABLES",
    "BadFiles",
    "Column",
    "Plan",
    "Survey",
    "add",
    "add_table",
    "column_names",
    "is_table",
    "kept",
    "names",
    "own_path",
    "parse_size",
    "plan",
    "preview",
    "read",
    "remove",
    "survey",
]
