"""What the server's reader takes for a request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.openai_requests import MAX_BYTES, Refused, read_body, served_fields

JSON = "application/json"
CHAT = {"model", "messages", "n", "temperature", "chat_template", "mm_processor_kwargs"}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("content_type", "data", "status"),
    [
        ("", b"{}", 415),
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/jsonx", b"{}", 415),
        (JSON, b"", 400),
        (JSON, b"{", 400),
        (JSON, b"[]", 400),
        (JSON, b"null", 400),
        (JSON, b"\xff\xfe{}", 400),
        (JSON, b"\x1f\x8b\x08", 400),
        (JSON, b'{"a": NaN}', 400),
        (JSON, b'{"a": -Infinity}', 400),
        (JSON, b'{"a": 1e999}', 400),
        (JSON, b'{"a": ' + b"9" * 5000 + b"}", 400),
        (JSON, b"[" * 100_000, 400),
        (JSON, b'{"a":' * 50_000, 400),
        (JSON, b'{"a": "b\\u0000"}', 400),
        (JSON, b'{"a": [{"b": ["\\ud83d"]}]}', 400),
        (JSON, b'{"\\ude00": 1}', 400),
        (JSON, b" " * (MAX_BYTES + 1), 413),
    ],
)
def test_a_body_that_is_none_is_refused(content_type, data, status):
    with pytest.raises(Refused) as refused:
        read_body(content_type, data)
    assert refused.value.status == status
    assert set(refused.value.as_openai()) == {"message", "type", "param", "code"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=4,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(st.characters()), json_values, max_size=3))
def test_a_body_is_read_as_it_is_or_refused(body):
    sent = json.dumps(body)
    try:
        read = read_body("Application/JSON; charset=utf-8", sent.encode())
    except Refused:
        assert any(sign in sent for sign in ("\\u0000", "\\ud", "NaN", "Infinity"))
    else:
        assert read == body


@given(st.binary(max_size=200))
def test_whatever_the_bytes_nothing_else_comes_of_them(data):
    try:
        assert isinstance(read_body(JSON, data), dict)
    except Refused as refused:
        assert refused.status == 400


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "human", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "User", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "x"},
                            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
                        ],
                    }
                ]
            },
            "messages[0].content",
        ),
        ({"n": 100_000}, "n"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"mm_processor_kwargs": {}}, "mm_processor_kwargs"),
    ],
)
def test_what_is_not_served_is_refused_by_its_field(changes, param):
    with pytest.raises(Refused) as refused:
        served_fields({"model": "m", "messages": HELLO} | changes, CHAT)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_what_is_served_goes_on_and_what_nobody_knows_does_not():
    body = {"model": "m", "messages": HELLO, "n": 5, "chat_template": None, "store": True}
    assert served_fields(body, CHAT) == {"model": "m", "messages": HELLO, "n": 5}
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    called = [{"role": "assistant", "content": None, "tool_calls": []}]
    for messages in (parts, called):
        assert served_fields({"messages": messages}, CHAT) == {"messages": messages}
    assert served_fields({"prompt": "a", "messages": 5}, {"prompt"}) == {
        "prompt": "a",
        "messages": 5,
    }
