"""What may be secret in addresses is neither shown nor logged."""

import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mpo_core.tracking.about import command
from mpo_core.tracking.faults import hidden, in_a_line

PLACES = [
    "http://u:{}@host:5000",
    "http://{}@host",
    "postgresql://u:{}/ss@host/db",
    "http://user:p@{}@host",
    "http://user:p?{}@host",
    "http://user:p?x={}@host",
    "https://host/v1?key={}",
    "https://host/v1?{}",
    "https://host/v1?mode=ro&password={}",
    "https://host/v1?mode=ro;password={}",
    "https://host/v1?key=a@{}",
    "postgresql://host/db?user=u&password={}",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{}%3B",
    "see http://a/b and https://host?token={}",
    "{{'endpoint': 'https://host?token={}', 'name': 'm'}}",
    "Max retries exceeded with url: /api?token={}",
]
NO_ENDS = st.characters(exclude_categories=["Z", "C"])


@pytest.mark.parametrize("place", PLACES)
@given(middle=st.text(NO_ENDS, max_size=8))
def test_no_secret_of_an_address_is_shown(place, middle):
    assume("=" not in middle or not place.endswith("?{}"))  # Of a query, names are shown.
    shown = hidden(place.format(f"SECRET{middle}SECRET"))
    assert "SECRET" not in shown and "***" in shown
    assert hidden(shown) == shown


@given(before=st.integers(150, 210))
def test_a_fault_that_is_cut_short_shows_no_part_of_a_secret(before):
    said = in_a_line(OSError("x" * before + " postgresql://u:SECRET@host"))
    assert "SEC" not in said and len(said) <= 200


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/x",
        "sqlite:///runs/mlflow.db?mode=ro",
        "https://host/v1?api-version=2024-05-01",
        "why? me@example.org: a=b&c=d",
    ],
)
def test_what_is_no_secret_is_shown_as_it_is(text):
    assert hidden(text) == text


@pytest.mark.parametrize(
    "word",
    [
        "models.gpt.endpoint=https://host?key=it'sSECRET",
        "models.gpt={endpoint: http://u:SECRET@host, name: m}",
        "models.gpt={name: m, extra_headers: {Authorization: Bearer SECRET}}",
        "models.gpt.extra_headers.Authorization=Bearer SECRET",
    ],
)
def test_the_command_is_logged_without_secrets(monkeypatch, word):
    monkeypatch.setattr(sys, "argv", ["mpo", "run", "demo", word])
    assert "SECRET" not in command() and "run demo" in command()
