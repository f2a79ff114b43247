"""Names from outside (of files, runs, classes, columns) are text, wherever they are shown.

What shows them elsewhere escapes them for its own language: `vae.ui.text.plain` for Markdown,
`vae.figures.theme.escaped` for Plotly. Here is what every one of them must be first.
"""

import unicodedata

# Control characters (escape sequences begin with one), halves of a character, ends of lines.
_NOT_SHOWN = {"Cc", "Cs", "Zl", "Zp"}
# What turns the text behind it around, so that "gpj.exe" reads "exe.jpg".
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def is_shown(character: str) -> bool:
    """Whether a character may stand in a sentence: any letter, sign, space or joiner of a script.

    `str.isprintable` is narrower: it knows no space but one and no joiner, as the names of a
    macOS screenshot, of Persian words and of emoji have them.
    """
    return unicodedata.category(character) not in _NOT_SHOWN and character not in _TURNING


def printable(text: str, most: int | None = None) -> str:
    """Text from outside as a sentence may quote it: "?" for what cannot be shown, cut off.

    Args:
        text: any.
        most: characters that are left [all].
    """
    text = "".join(c if is_shown(c) else "?" for c in (text if most is None else text[: most + 1]))
    return text if most is None or len(text) <= most else text[: most - 3] + "..."


def composed(text: str) -> str:
    """Text with each letter and its accent as one character: macOS writes them as two (NFC)."""
    return unicodedata.normalize("NFC", text)


def cell(text: str) -> str:
    """A name as a cell of a CSV, which no spreadsheet takes for a formula and no terminal for more.

    An apostrophe goes before what would begin one (OWASP, CSV injection); a plain number stays.
    """
    text = printable(text)
    if not text.lstrip().startswith(_FORMULA) or _is_number(text):
        return text
    return f"'{text}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
