"""The names in a zip as text: some writers say their alphabet, for the others it is found out.

Windows' own writer takes the code page of the country, and says nothing. What a page makes of all
names together tells it: one reads letters of one alphabet in words, the others signs, frames, and
capitals amid words.
"""

import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from itertools import pairwise

from vae.names import composed

_UTF_8 = 0x800  # the flag of an entry whose name is in UTF-8
_IN_EXTRA = 0x7075
# Of two that read the names as well, the one before counts.
_PAGES = {
    "cp437": "code page 437, of western Windows",
    "cp850": "code page 850, of western Windows",
    "cp1252": "code page 1252, Latin letters",
    "cp932": "code page 932, Japanese",
    "gbk": "code page 936, Chinese",
    "cp866": "code page 866, Cyrillic",
    "cp1251": "code page 1251, Cyrillic",
}
_MOST_JUDGED = 500  # names; all must be valid
_SLAVIC = set("абвгдежзийклмнопрстуфхцчшщъыьэюяіїєґ")
_RUNS = re.compile(r"[^\W\d_]+")


def names_of(infos: Iterable[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """The names of some entries, with slashes between folders; and how they were read.

    Args:
        infos: the entries.

    Returns:
        The names in that order, and the code page in words, "" where nothing had to be guessed.
    """
    names: list[str | bytes] = [_name(info) for info in infos]
    unsaid = list(dict.fromkeys(name for name in names if isinstance(name, bytes)))
    page = _page_of(unsaid) if unsaid else "utf-8"
    read = [name.decode(page) if isinstance(name, bytes) else name for name in names]
    # Windows PowerShell 5 writes backslashes.
    return [composed(name.replace("\\", "/")) for name in read], _PAGES.get(page, "")


def _name(info: zipfile.ZipInfo) -> str | bytes:
    """As text, or in bytes of an alphabet that the zip does not say."""
    if info.flag_bits & _UTF_8 or info.filename.isascii():
        return info.filename
    try:
        raw = info.filename.encode("cp437")  # which Python has read it as
    except UnicodeEncodeError:
        return info.filename  # a later Python has read the extra field
    try:
        return _name_in_extra(info.extra, raw) or raw
    except UnicodeDecodeError:
        return raw


def _name_in_extra(extra: bytes, raw: bytes) -> str:
    """The name in Info-ZIP's extra field for one in UTF-8 (4.6.9 of the format); mostly empty."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == _IN_EXTRA and size > 5:
            is_of_it = struct.unpack("<L", extra[5:9])[0] == zlib.crc32(raw)
            return extra[9 : 4 + size].decode() if is_of_it else ""
        extra = extra[4 + size :]
    return ""


def _page_of(names: list[bytes]) -> str:
    """The encoding that all names are most likely written in; macOS writes UTF-8 without a word."""
    read = {}
    for page in ("utf-8", *_PAGES):
        try:
            read[page] = [name.decode(page) for name in names]
        except UnicodeDecodeError:
            continue
    if any(char > "\u07ff" for name in read.get("utf-8", ()) for char in name):
        return "utf-8"  # three bytes that fit each other are no accident, two may be Chinese
    return max(read, key=lambda page: _likeness(read[page][:_MOST_JUDGED], page))


def _likeness(names: list[str], page: str) -> float:
    """How much names look like words: at most 1, the mean over the bytes that are no ASCII."""
    total, n_bytes = 0.0, 0
    for part in {part for name in names for part in re.split(r"[\\/]", name)}:
        for char in part:
            if not char.isascii():
                n = len(char.encode(page))
                total += n * _weight(char, page)
                n_bytes += n
        for word in _RUNS.findall(part):
            total -= _faults(word)
    return total / max(1, n_bytes)


def _weight(char: str, page: str) -> float:
    if page == "utf-8":
        return 1.0 if unicodedata.category(char)[0] in "LM" else -1.0
    if not char.isalpha():
        return -1.0
    data = char.encode(page)
    if len(data) == 2:  # the common half of the characters comes first in either table
        common = 0xB0 <= data[0] <= 0xD7 and data[1] >= 0xA1 if page == "gbk" else data[0] < 0x99
        is_wide = unicodedata.name(char, "").startswith(("FULLWIDTH", "GREEK", "CYRILLIC"))
        return 1.0 if common and not is_wide else 0.0
    script = _script(char)
    if script == "CYRILLIC":
        return 1.0 if char.lower() in _SLAVIC else 0.4
    return {"LATIN": 1.0, "GREEK": 0.0}.get(script, -1.0)  # katakana of half width is a last resort


def _faults(word: str) -> int:
    """Two alphabets side by side, capitals behind small letters, rows of accented letters."""
    faults = 0
    for a, b in pairwise(word):
        if a.isascii() and b.isascii():
            continue
        scripts = {_script(a), _script(b)}
        faults += len(scripts & {"LATIN", "CYRILLIC", "GREEK"}) > 1
        faults += "CJK" in scripts and (a.islower() or b.islower())
        faults += a.islower() and b.isupper()
        faults += scripts == {"LATIN"} and not (a.isascii() or b.isascii())
    return faults


def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0]
