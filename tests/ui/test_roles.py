"""What visitors may do on a server whose owner lets them look only, and on any other."""

import logging

import pytest
import streamlit as st

from vae.ui import owner, roles


@pytest.fixture(autouse=True)
def written(tmp_path, monkeypatch):
    """The owner's file, which is not there yet."""
    monkeypatch.setattr(owner, "FILE", tmp_path / "elbo.toml")
    return owner.FILE


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


@pytest.mark.parametrize(
    ("remote_ip", "headers", "is_at_home"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {"Origin": "http://localhost:8501"}, True),
        ("::ffff:127.0.0.1", {"Origin": "http://127.0.0.1:8501"}, True),
        ("192.168.1.5", {}, False),
        (None, {}, False),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, False),
        ("127.0.0.1", {"Forwarded": "for=1.2.3.4"}, False),
        ("127.0.0.1", {"Origin": "https://vae.example.org"}, False),
        ("127.0.0.1", {"Origin": "http://[::1"}, False),
    ],
)
def test_at_home_is_a_browser_on_the_servers_computer(remote_ip, headers, is_at_home, monkeypatch):
    found = type("Connection", (), {"remote_ip": remote_ip, "headers": list(headers.items())})
    monkeypatch.setattr(roles, "connection", lambda: found)
    assert roles.is_at_home() == is_at_home
    monkeypatch.setenv("VAE_OWNER", "a@example.org")
    assert not roles.is_at_home()


def test_who_has_just_left_is_not_at_home(monkeypatch):
    monkeypatch.setattr(roles, "connection", lambda: None)
    monkeypatch.setattr(roles.runtime, "exists", lambda: True)
    assert not roles.is_at_home()


def test_roles_are_read_from_the_owners_file_and_the_environment_wins(written, monkeypatch):
    written.write_text("[roles]\nread_only = true\nowner = ['A@example.org', 'b@example.org']")
    assert not roles.may_change()
    assert roles.owners() == {"a@example.org", "b@example.org"}
    monkeypatch.setenv("VAE_READ_ONLY", "0")
    monkeypatch.setenv("VAE_OWNER", "c@example.org")
    assert roles.may_change()
    assert roles.owners() == {"c@example.org"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[roles]\nread_only = 1", "must be true or false; it is taken for true"),
        ("[roles]\nread_onl = true", "has no 'read_onl'"),
        ("[roles]\nowner = 3", "must be an e-mail"),
        ("[roles]\nowner = 'a@example.org'", "nobody can log in"),
        ("[roles", "cannot be read"),
    ],
)
def test_what_cannot_be_used_of_roles_is_said_in_the_log_too(text, said, written, caplog):
    written.write_text(text)
    roles.announce.clear()
    with caplog.at_level(logging.WARNING):
        roles.announce()
    assert said in caplog.text


def test_strangers_only_look_while_the_owners_file_cannot_be_read(written, monkeypatch):
    written.write_text("[roles]\nread_only = tru")
    for is_at_home in (True, False):
        monkeypatch.setattr(roles, "is_at_home", lambda is_at_home=is_at_home: is_at_home)
        assert roles.may_change() == is_at_home


def test_a_word_for_read_only_that_is_neither_is_taken_for_yes(monkeypatch):
    monkeypatch.setenv("VAE_READ_ONLY", "ja")
    assert not roles.may_change()
    assert any("'ja'" in problem for problem in roles.problems())
