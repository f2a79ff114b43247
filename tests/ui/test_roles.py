"""What visitors may do on a server whose owner lets them look only, and on any other."""

import logging

import pytest
import streamlit as st

from vae.ui import roles


@pytest.fixture
def read_only(monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", "1")


@pytest.mark.parametrize("text", ["", "0", "no", "False"])
def test_without_a_word_of_the_owner_visitors_may_change_things(text, monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", text)
    assert roles.may_change()
    roles.check()


def test_who_may_only_look_is_told_so_and_by_whom_it_can_be_changed(read_only):
    with pytest.raises(roles.ReadOnlyError, match="Whoever runs it can allow that"):
        roles.check()


@pytest.mark.parametrize("address", ["0.0.0.0", "", None, "192.168.1.2"])
def test_a_server_that_others_reach_says_what_they_may_do(address, monkeypatch, caplog):
    monkeypatch.setattr(st, "get_option", lambda _: address)
    for text, expected in (("", "rename or delete"), ("1", "may look, and open")):
        monkeypatch.setenv("VAE_READ_ONLY", text)
        roles.announce.clear()
        with caplog.at_level(logging.WARNING):
            roles.announce()
        assert expected in caplog.text
        caplog.clear()


def test_one_that_is_reached_from_its_own_computer_alone_says_nothing(monkeypatch, caplog):
    monkeypatch.setattr(st, "get_option", lambda _: "127.0.0.1")
    roles.announce.clear()
    roles.announce()
    assert not caplog.text
