"""Exported pages that a class is given, as files under short codes."""

import gzip
import os

import pytest

from vae.live import class_pages
from vae.runs.files import CheckpointError

PAGE = "<!doctype html><p>σ</p>"


@pytest.fixture(autouse=True)
def folder(checkpoints):
    return checkpoints / class_pages.FOLDER


def test_a_page_is_found_by_its_code_until_it_is_taken_down(folder):
    page = class_pages.add(PAGE, "point 3 of digits", "digits-2d")
    assert page.path.parent == folder
    assert gzip.decompress(page.path.read_bytes()).decode() == PAGE
    assert page.n_bytes == page.path.stat().st_size
    assert class_pages.find(page.code) == class_pages.find(page.code.upper()) == page
    assert class_pages.all_pages() == [page]
    class_pages.take_down(page)
    assert class_pages.find(page.code) is None
    assert class_pages.all_pages() == []
    assert list(folder.iterdir()) == []
    class_pages.take_down(page)  # somebody else has, too


def test_a_page_keeps_its_code_and_another_page_or_maker_has_another(folder):
    codes = [
        class_pages.add(text, "", "run", maker).code
        for text, maker in [(PAGE, "a"), (PAGE, "a"), (PAGE, "b"), (PAGE + " ", "a")]
    ]
    assert codes[0] == codes[1]
    assert len(set(codes)) == 3
    for n, code in enumerate(sorted(set(codes))):
        os.utime(folder / f"{code}.html.gz", (n, n))
    assert [page.code for page in class_pages.all_pages()] == sorted(set(codes), reverse=True)


def test_codes_have_no_letters_that_are_taken_for_others():
    for n in range(200):
        assert not set(class_pages.add(f"{n}", "", "run").code) & set("01oil")


@pytest.mark.parametrize(
    "code", ["", "abc", "abcdefg", "../abc", "abc/de", "a" * 9999, "abcde\0", "äbcdef"]
)
def test_what_is_no_code_finds_nothing(code):
    class_pages.add(PAGE, "", "run")
    assert class_pages.find(code) is None


@pytest.mark.parametrize("note", [None, b"", b"[]", b'{"title": 3}', b"x" * 99_999, b"\xff"])
def test_a_page_whose_note_is_gone_or_damaged_is_as_good(note, folder):
    page = class_pages.add(PAGE, "title", "run")
    path = folder / f"{page.code}.json"
    path.unlink() if note is None else path.write_bytes(note)
    found = class_pages.find(page.code)
    assert (found.path, found.title, found.run) == (page.path, "a page", "a model")


def test_where_nothing_can_be_written_a_sentence_says_so(folder):
    folder.write_text("a file in its place")
    with pytest.raises(CheckpointError, match="cannot write"):
        class_pages.add(PAGE, "", "run")
