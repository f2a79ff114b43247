"""Any state dict of a VAE, without its code: chains of layers, found by names, order and shapes.

`layers` finds the layers, `blocks` those of residual blocks, `units` and `search` which of them
reads which, `geometry` and `plan` what the sizes of images leave of strides and paddings, `reading`
what is still open, as facts with alternatives; `build` makes the networks, and `reader` puts it all
together.
"""
