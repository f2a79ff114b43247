"""What Python and the browser's part both need: written here and handed over as constants.js."""

import base64
import json
import re
from pathlib import Path

from vae.figures import explore as figures
from vae.figures import gaussians as gaussian_figures
from vae.figures import points as point_figures
from vae.lessons.glossary import GLOSSARY

_WASM = Path(__file__).parent / "wasm"
MAGIC = "ELBO"  # the first bytes of a pack
MOST_SAMPLES = 64  # that the panel draws of q
SIGMA_RANGE = (1e-6, 1e6)  # what a slider can hold, whatever a diverged encoder says
STAGE_ZOOM = 1.7  # of a page on a projector: from 12 px, its smallest type, to 20
# Matrix products in WebAssembly, the one with relaxed SIMD first; `.ci/wasm` makes them.
KERNELS = ("matrix-relaxed.wasm", "matrix.wasm")
GAUSSIAN_SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)  # of a sample
GAUSSIAN_TERMS = {  # of equation (5), as written on screen
    "log_det_ratio": "log |Σ₂| / |Σ₁|",
    "minus_k": "−k",
    "trace": "tr(Σ₁ Σ₂⁻¹)",
    "mahalanobis": "(μ₁−μ₂)ᵀ Σ₂⁻¹ (μ₁−μ₂)",
}
GAUSSIAN_SAMPLES = {  # what a sample says the mean of, and the equation that says it exactly
    "kl": ("log P₁/P₂", "equation (1)"),
    "quadratic_1": ("(x−μ₁)ᵀ Σ₁⁻¹ (x−μ₁)", "equation (3): k"),
    "quadratic_2": ("(x−μ₂)ᵀ Σ₂⁻¹ (x−μ₂)", "equation (4): trace + distance"),
}


def javascript() -> str:
    """The same as the text of constants.js."""
    values = {
        "MAGIC": MAGIC,
        "MOST_SAMPLES": MOST_SAMPLES,
        "SIGMA_RANGE": SIGMA_RANGE,
        "STAGE_ZOOM": STAGE_ZOOM,
        "KERNELS": [base64.b64encode((_WASM / name).read_bytes()).decode() for name in KERNELS],
        "GAUSSIAN_SIZES": GAUSSIAN_SIZES,
        "GAUSSIAN_TERMS": GAUSSIAN_TERMS,
        "GAUSSIAN_SAMPLES": GAUSSIAN_SAMPLES,
        "GLOSSARY": {name: word._asdict() for name, word in GLOSSARY.items()},
        "Q_COLOUR": figures.Q_COLOUR,
        "PRIOR_COLOUR": figures.PRIOR_COLOUR,
        "OTHER_COLOUR": gaussian_figures.OTHER_COLOUR,
        "LEAST_RANGE": point_figures.LEAST_RANGE,
        "NATS": [[int(v) for v in re.findall(r"\d+", colour)] for _, colour in figures.NATS],
    }
    return "".join(
        f"export const {name} = {json.dumps(value, ensure_ascii=False)};\n"
        for name, value in values.items()
    )
