"""What a reader should know of a training that ended in an extreme."""

from vae.config import TrainConfig
from vae.training.objectives import MeanTerms
from vae.wording import IMAGES, Words

# A dimension whose KL is smaller tells the decoder next to nothing (nats; Burda et al., 2016, use
# a threshold of 0.01 on the variance of mu).
COLLAPSED_NATS = 0.05


def remark(config: TrainConfig, held_out: MeanTerms, words: Words = IMAGES) -> str | None:
    """What a reader should know of a run that ended in an extreme; None for an ordinary one."""
    if config.beta == 0:
        return (
            "β = 0: nothing held q(z|x) near the prior, so this is an autoencoder with noise, and "
            "draws from the prior need not decode to anything like the data."
        )
    if held_out.kl < COLLAPSED_NATS:
        advice = "a smaller β" if config.beta > 1 else "a longer KL warm-up or free bits"
        return (
            f"Posterior collapse: the KL is {held_out.kl:.3f} nats, so z tells the decoder nothing "
            f"and every {words.point} is decoded alike. Try {advice}."
        )
    return None
