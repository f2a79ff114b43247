"""The field's words, each in one sentence, with its equation."""

from typing import NamedTuple


class Word(NamedTuple):
    """What a word means.

    Attributes:
        sentence: in plain words.
        equation: in characters that any font has; "" for none.
        page: that derives it, by its address; "" for none.
    """

    sentence: str
    equation: str = ""
    page: str = ""


_LOSS, _KL = "inference", "gaussians"  # their walks through the equations

GLOSSARY = {
    "encoder": Word("The network that reads x and answers with q: a μ and a σ for each dimension."),
    "decoder": Word("The network that makes an image of a place z in latent space.", "z → E[x|z]"),
    "μ": Word("The mean of q: where the encoder puts the image.", "z = μ + σ ε", _LOSS),
    "σ": Word("The width of q: how sure the encoder is of each dimension.", "z = μ + σ ε", _LOSS),
    "ε": Word(
        "The noise that makes z a sample of q; with other ε the samples are others.",
        "z = μ + σ ε, ε ~ N(0, 1)",
        _LOSS,
    ),
    "q": Word("What the encoder says of z when it sees x: a Gaussian.", "q(z|x) = N(μ, σ²)", _LOSS),
    "prior": Word(
        "What is said of z before any image is seen: a standard Gaussian.", "p(z) = N(0, 1)", _KL
    ),
    "posterior": Word(
        "Which z could have made x, given the decoder; q stands in for it.",
        "p(z|x) ∝ p(x|z) p(z)",
        _LOSS,
    ),
    "manifold": Word("All that the decoder can make: each place of the map decoded.", "z → E[x|z]"),
    "nats": Word("The unit of a cost in natural logarithms: one nat is 1.44 bits."),
    "KL": Word("What it costs that q differs from the prior.", "½ Σ (μ² + σ² − 1 − log σ²)", _KL),
    "recon": Word(
        "What x costs, decoded from samples of q, on average; ± is that mean's error.",
        "−E log p(x|z), z ~ q",
        _LOSS,
    ),
    "-ELBO": Word(
        "The loss: recon and KL together, never less than what x costs under the model.",
        "recon + KL ≥ −log p(x)",
        _LOSS,
    ),
    "x": Word("The image, as numbers between 0 and 1.", "x"),
    "z": Word("A place in latent space, from which the decoder makes an image.", "z ~ q(z|x)"),
    "latent space": Word("All places z: what an image is described by, a few numbers each."),
    "k": Word("How many latent dimensions there are: how many numbers z has."),
    "φ": Word(
        "The weights of the encoder, and so of q. One of the notes that the derivation comes from "
        "swaps φ and θ in a sentence; here φ is always the encoder's.",
        "q_φ(z|x)",
        _LOSS,
    ),
    "θ": Word(
        "The weights of the decoder, and so of p. One of the notes that the derivation comes from "
        "swaps θ and φ in a sentence; here θ is always the decoder's.",
        "p_θ(x|z)",
        _LOSS,
    ),
    "P, Q": Word("The two Gaussians that are compared: draws come from P, Q describes them."),
    "Σ": Word("A covariance: how wide a Gaussian is in each direction, and how it is tilted."),
    "tr": Word("The trace of a matrix: the sum of its diagonal.", "tr(AB) = tr(BA)", _KL),
    "E": Word("The average over all draws of what stands below it.", "E_q f(z)"),
    "L": Word("How many draws a Monte Carlo average is of."),
    "β": Word("The weight of the KL in training: 1 is the bound itself.", "recon + β KL"),
    "free bits": Word("KL that each dimension has for nothing, so that it is not given up."),
    "log p(x)": Word("How probable the model finds the image, whatever z made it.", "", _LOSS),
    "gap": Word(
        "What the ELBO lacks of log p(x): the KL from q to the posterior.",
        "log p(x) − ELBO = KL(q(z|x), p(z|x))",
        _LOSS,
    ),
    "K": Word("How many weighted samples are averaged before the logarithm is taken.", "", _LOSS),
}
