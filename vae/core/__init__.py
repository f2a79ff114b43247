"""The model and its bound: normal distributions, likelihoods, networks, the terms."""
