"""Names from outside: what of them can be shown, and what a spreadsheet makes of them."""

import pytest

from vae import names


@pytest.mark.parametrize(
    "text",
    [
        "Screenshot 2024-05-01 at 9.41.00\u202fAM",
        "v\u00a01",
        "新しい\u3000猫",
        "گربه\u200cها",
        "👨\u200d👩",
        "\uf022",  # of a colon, by macOS on a share of Windows
        "<b>x</b> & `y` $z$",
    ],
)
def test_letters_spaces_and_joiners_of_any_script_stay(text):
    assert names.printable(text) == text


@pytest.mark.parametrize(
    "character", ["\x1b", "\x07", "\n", "\r", "\0", "\x9b", "\ud800", "\u2028", "\u202e", "\u2066"]
)
def test_what_steers_a_terminal_or_turns_text_around_is_replaced(character):
    assert names.printable(f"a{character}b") == "a?b"


def test_a_name_that_is_too_long_is_cut_off():
    assert names.printable("x" * 100, 10) == "xxxxxxx..."
    assert names.printable("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    "text", ["=1+1", "+A1", "-A1", "@SUM(A1)", " =1", "＝1", "=cmd|' /C calc'!A0", "-1+A1"]
)
def test_no_cell_is_a_formula(text):
    assert names.cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "cat", "-1", "+1.5", "-1e-3", "a=b", "7"])
def test_words_and_numbers_stay_as_they_are_in_a_cell(text):
    assert names.cell(text) == text


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1"])
def test_no_cell_begins_with_what_a_spreadsheet_skips(text):
    assert names.cell(text) == "?=1"
