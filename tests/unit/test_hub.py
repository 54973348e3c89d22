"""What is said of a hub's model before anything waits for it."""

from typing import ClassVar

import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from mpo_core.hub import hub_check


class Response:
    """As much of an answer as the hub's errors look at."""

    headers: ClassVar[dict] = {}
    request = None
    status_code = 404
    text = ""


@pytest.fixture
def asked(monkeypatch):
    """The hub answers with what is put in: an error, or nothing."""
    answers = []
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)

    def model_info(self, source, timeout):
        for answer in answers:
            raise answer

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return answers


@pytest.mark.parametrize("source", ["builtin:sandbox-agent", "./org/model", "no-hub-id"])
def test_nothing_is_said_of_what_is_not_the_hubs(asked, source):
    assert hub_check("llm", source) is None


def test_nothing_is_said_of_a_folder_that_reads_like_a_hub_id(asked, tmp_path, monkeypatch):
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_check("llm", "org/model") is None


@pytest.mark.parametrize(
    ("answer", "status", "found", "remedy"),
    [
        (None, "ok", "org/m, will be downloaded from the hub by the first run", ""),
        (
            RepositoryNotFoundError("404", response=Response()),
            "fault",
            "org/m: the hub has no such model, or it is a private one",
            "mend models.llm.source, or set HF_TOKEN",
        ),
        (
            GatedRepoError("403", response=Response()),
            "fault",
            "org/m: the hub asks for its terms first",
            "accept its terms at https://huggingface.co/org/m and set HF_TOKEN",
        ),
        (
            OSError("Name or service\nnot known"),
            "warn",
            "the hub does not answer (Name or service not known)",
            "download it where the hub can be reached: hf download org/m",
        ),
        (TimeoutError(), "warn", "the hub does not answer (TimeoutError)", "hf download org/m"),
    ],
)
def test_what_the_hub_says_is_told_with_what_to_do(asked, answer, status, found, remedy):
    asked += [answer] if answer else []
    check = hub_check("llm", "org/m")
    assert (check.name, check.status) == ("model llm", status)
    assert found in check.found and remedy in check.remedy and "\n" not in check.found


def test_a_model_of_the_cache_is_not_asked_for(asked, monkeypatch):
    asked.append(AssertionError("nobody asks"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/cache/config.json")
    assert hub_check("llm", "org/m").found == "org/m, in the hub's cache"


def test_where_the_hub_may_not_be_asked_that_is_told(asked, monkeypatch):
    asked.append(AssertionError("nobody asks"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    check = hub_check("llm", "org/m")
    assert check.status == "warn" and "HF_HUB_OFFLINE forbids" in check.found
    assert check.remedy.startswith("unset HF_HUB_OFFLINE")
