"""Text for pages."""


def plain(text: str) -> str:
    """Text from a file or a user, so that Markdown shows it as it is."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>()#+!|$~:" else c for c in text)


def nats(value: float) -> str:
    """A number of nats as the pages write it."""
    return f"{value:.2f}"
