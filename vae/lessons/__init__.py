"""The derivations, with a pair's or a point's own numbers in them."""
