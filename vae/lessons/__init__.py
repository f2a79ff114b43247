"""The course and its derivations, with the numbers of a pair or a point in them.

import vae.lessons
vae.lessons.show("closed-form", step="cyclic")
"""

from typing import Any


def show(lesson: str, step: str = "", subject: Any = None) -> Any:
    """A step of the course for a notebook's cell: see `vae.lessons.notebook.show`."""
    from vae.lessons import notebook  # with its figures, which the app's other parts need not load

    return notebook.show(lesson, step, subject)
