"""A private Ray cluster has a token, whatever the user's home is like."""

import os

import pytest
from ray._raylet import AuthenticationTokenLoader

from cluster.private import _own_token
from mpo_core.errors import InputError


@pytest.fixture
def undone(monkeypatch):
    """Calls of what is to be undone, in a home that cannot be written."""
    for variable in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/proc")
    AuthenticationTokenLoader.instance().reset_cache()
    yield []
    monkeypatch.undo()
    AuthenticationTokenLoader.instance().reset_cache()


def undo_after(undone):
    return _own_token(lambda: undone.append(True))


@pytest.mark.parametrize("variable", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_where_the_user_has_none_it_is_the_clusters_own(undone, monkeypatch, variable):
    monkeypatch.setenv(variable, "")
    undo = undo_after(undone)
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    undo()
    assert not os.environ.get("RAY_AUTH_TOKEN") and undone == [True]
    assert not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)


def test_the_users_own_is_left(undone, monkeypatch, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    undo_after(undone)()
    assert "RAY_AUTH_TOKEN" not in os.environ and undone == [True]


@pytest.mark.parametrize("content", [None, ""])
def test_a_file_without_a_token_is_named(undone, monkeypatch, tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    with pytest.raises(InputError, match=f"^RAY_AUTH_TOKEN_PATH: {path}: no token") as said:
        undo_after(undone)
    assert "\n" not in str(said.value) and undone == [True]


def test_a_cluster_that_is_to_have_none_has_none(undone, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/such/file")
    undo_after(undone)()
    assert "RAY_AUTH_TOKEN" not in os.environ and undone == [True]
