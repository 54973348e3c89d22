"""Preference pairs and demonstrations as training reads them."""

import pytest

from mpo_core.config import DpoConfig
from mpo_core.errors import InputError
from mpo_core.training import dpo, sft
from mpo_core.training.dpo import read_rows
from mpo_core.training.rows import Fit
from mpo_core.types import Demonstration, PlanScore, PreferencePair


def make_pair() -> PreferencePair:
    def score(mean: float) -> PlanScore:
        return PlanScore.of("t", str(mean), [mean, mean])

    def message(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    return PreferencePair(
        task_id="t",
        prompt=message("user", "task"),
        chosen=message("assistant", "good"),
        rejected=message("assistant", "bad"),
        chosen_score=score(1.0),
        rejected_score=score(0.0),
        rule="best_worst",
    )


def test_rows_hold_the_messages_of_each_pair(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(make_pair().model_dump_json() + "\n\n" + make_pair().model_dump_json() + "\n")
    rows = read_rows(file)
    assert len(rows) == 2
    assert rows[0]["chosen"] == [{"role": "assistant", "content": "good"}]
    assert set(rows[0]) == {"prompt", "chosen", "rejected"}


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_rows(tmp_path / "pairs.jsonl")


def test_an_empty_file_is_an_input_error(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no preference pairs"):
        read_rows(tmp_path / "pairs.jsonl")


def test_a_line_that_is_no_pair_is_named(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(make_pair().model_dump_json() + '\n{"prompt": []}\n')
    with pytest.raises(InputError, match=r"pairs\.jsonl:2: not a preference pair: prompt"):
        read_rows(file)


def make_demonstration(**fields) -> Demonstration:
    """The last answer of a conversation of two turns."""
    prompt = [
        {"role": "user", "content": "task"},
        {"role": "assistant", "content": "look"},
        {"role": "user", "content": "a room"},
    ]
    given = {"task_id": "t", "prompt": prompt, "origin": "expert"}
    return Demonstration(
        **given | {"completion": [{"role": "assistant", "content": "go"}]} | fields
    )


def test_rows_hold_the_messages_of_each_demonstration(tmp_path):
    file = tmp_path / "demonstrations.jsonl"
    file.write_text(make_demonstration().model_dump_json() + "\n")
    [row] = sft.read_rows(file)
    assert set(row) == {"prompt", "completion"}
    assert [message["content"] for message in row["prompt"]] == ["task", "look", "a room"]
    assert row["completion"] == [{"role": "assistant", "content": "go"}]


def test_unusual_line_breaks_in_an_answer_do_not_split_its_line(tmp_path):
    answer = [{"role": "assistant", "content": "go\u2028there\x85now"}]
    file = tmp_path / "demonstrations.jsonl"
    file.write_text(make_demonstration(completion=answer).model_dump_json() + "\n", "utf-8")
    [row] = sft.read_rows(file)
    assert row["completion"] == answer


def test_pairs_are_not_taken_for_demonstrations(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(make_pair().model_dump_json() + "\n")
    with pytest.raises(InputError, match=r"pairs\.jsonl:1: not a demonstration: completion"):
        sft.read_rows(file)


def test_a_demonstration_without_an_answer_is_refused(tmp_path):
    file = tmp_path / "demonstrations.jsonl"
    text = make_demonstration().model_dump_json()
    file.write_text(text + "\n" + text.replace('[{"role":"assistant","content":"go"}]', "[]"))
    with pytest.raises(InputError, match=r"jsonl:2: not a demonstration: completion"):
        sft.read_rows(file)


class WordTemplate:
    """A chat template of words, one that renders the last turn as some real ones do: an answer
    follows `think` only where it has not been written yet."""

    def apply_chat_template(self, messages, add_generation_prompt=False, return_dict=True):
        words = [word for m in messages for word in (m["role"], *m["content"].split(), "end")]
        return words + (["assistant", "think"] if add_generation_prompt else [])


def test_the_answer_begins_where_it_departs_from_the_prompt():
    row = {
        "prompt": [{"role": "user", "content": "heat it"}],
        "completion": [{"role": "assistant", "content": "go there"}],
    }
    found = sft.tokens(row, WordTemplate())
    assert found["input_ids"] == ["user", "heat", "it", "end", "assistant", "go", "there", "end"]
    assert found["completion_mask"] == [0, 0, 0, 0, 0, 1, 1, 1]


def test_every_answer_of_an_episode_is_learnt_and_nothing_else():
    row = {
        "prompt": [{"role": "user", "content": "heat it"}],
        "completion": [
            {"role": "assistant", "content": "go there"},
            {"role": "user", "content": "a room"},
            {"role": "assistant", "content": "wait"},
        ],
    }
    found = sft.tokens(row, WordTemplate())
    learnt = [t for t, m in zip(found["input_ids"], found["completion_mask"], strict=True) if m]
    assert learnt == ["go", "there", "end", "wait", "end"]


@pytest.mark.parametrize(("fall_per_token", "warned"), [(-0.5, False), (0.05, False), (0.2, True)])
def test_chosen_plans_that_become_unlikely_are_warned_of(fall_per_token, warned):
    config, fit = DpoConfig(beta=0.2), Fit(0, 0, answer_tokens=50)
    curve = [
        {"step": k, "rewards/chosen": -config.beta * fit.answer_tokens * fall_per_token * k / 20}
        for k in range(1, 21)
    ]
    assert bool(dpo.warnings(curve, config, fit)) == warned
