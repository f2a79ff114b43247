"""What the sentence under the heading of Explore says."""

import json
import re

from streamlit.testing.v1 import AppTest

_TERMS = re.compile(r"costs (-?[\d.]+) nats, .*: recon (-?[\d.]+) \+ KL (-?[\d.]+)\.")


def stated(text: str) -> list[float]:
    """recon, KL and -ELBO of the chosen point; none where they are not stated."""
    found = _TERMS.search(text.replace("\\", ""))
    return [float(found[i]) for i in (2, 3, 1)] if found else []


def stated_terms(app: AppTest) -> list[float]:
    """The same of a page."""
    return stated("\n".join(element.value for element in app.markdown))


def captions(app: AppTest) -> str:
    """The captions of a page whose words are explained, as they are read."""
    told = [element.proto.json for element in app.get("bidi_component")]
    found = [json.loads(text) for text in told if text.startswith("{")]
    parts = [part for data in found for part in data.get("parts", ())]
    return "".join(part if isinstance(part, str) else part["text"] for part in parts)
