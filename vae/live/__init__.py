"""The model in the browser: it decodes in the page, under the hand that drags.

`program` turns modules into what js/program/ runs; `pack` and `panel` say what crosses the wire;
`export` writes one HTML file. `show` displays the same thing in a notebook, of any checkpoint and
of any object with encode and decode.
"""

from vae.live.export import show

__all__ = ["show"]
