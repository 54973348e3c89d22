"""Preference pairs and demonstrations as training reads them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.config import DpoConfig
from mpo_core.errors import InputError
from mpo_core.training import dpo, sft
from mpo_core.training.dpo import read_rows
from mpo_core.training.rows import (
    BLANK,
    CONTRADICTED,
    REPEATED,
    SAME,
    SAME_AFTER_CUT,
    TOO_LONG,
    Fit,
    telling_pairs,
)
from mpo_core.training.settings import CONFIGS, TrainingJob
from mpo_core.types import Demonstration, PlanScore, PreferencePair
from tests.tiny_chat import TEMPLATE, make_tokenizer

SFT_PARTS = {"prompt": "prompt", "completion": "chosen"}


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


@pytest.mark.parametrize("read", [sft.read_rows, dpo.read_rows])
@pytest.mark.parametrize("name", ["human", "tool"])
def test_sharegpts_roles_are_mapped_and_others_refused(tmp_path, read, name):
    row = {
        "prompt": [{"role": name, "content": "task"}],
        "completion": [{"role": "gpt", "content": "good"}],
        "chosen": [{"role": "gpt", "content": "good"}],
        "rejected": [{"role": "gpt", "content": "bad"}],
    }
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    if name == "tool":
        with pytest.raises(InputError, match=r"rows\.jsonl:1: .*: unknown role 'tool'"):
            read(file)
        return
    [found] = read(file)
    assert found["prompt"] == [{"role": "user", "content": "task"}]
    assert {found[side][0]["role"] for side in found if side != "prompt"} == {"assistant"}


@pytest.mark.parametrize(
    ("side", "roles", "says"),
    [
        (
            "chosen",
            ["assistant", "user"],
            "chosen: expected one answer of the assistant's, found a",
        ),
        ("rejected", ["user"], "rejected: expected one answer"),
    ],
)
def test_a_side_that_is_not_one_answer_is_refused(tmp_path, side, roles, says):
    row = json.loads(make_pair().model_dump_json())
    row[side] = [{"role": role, "content": "x"} for role in roles]
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=says):
        dpo.read_rows(file)


def pair(chosen: str, rejected: str, prompt: str = "task") -> dict:
    parts = {"prompt": ("user", prompt)}
    parts |= {"chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    return {part: [{"role": role, "content": text}] for part, (role, text) in parts.items()}


@pytest.mark.parametrize(
    ("pairs", "kept", "reasons"),
    [
        ([pair("a", "b"), pair("a", "c"), pair("a", "b", "other")], [1, 2, 3], {}),
        ([pair("a", "a"), pair("a", " a\n"), pair("a", "b")], [3], {SAME: 2}),
        ([pair("", "b"), pair("a", " \n"), pair("", ""), pair("a", "b")], [4], {BLANK: 3}),
        ([pair("a", "b"), pair("a", "b"), pair("a ", "b")], [1], {REPEATED: 2}),
        ([pair("a", "b"), pair("b", "a"), pair("a", "b")], [], {CONTRADICTED: 3}),
        ([pair("a", "b"), pair("b", "a", "other")], [1, 2], {}),
        ([pair("a", "b"), pair("b", "c"), pair("c", "a")], [1, 2, 3], {}),
    ],
)
def test_pairs_that_teach_nothing_are_left_out_and_counted(pairs, kept, reasons):
    telling, dropped = telling_pairs(pairs)
    assert telling == {number: pairs[number - 1] for number in kept}
    assert dropped == reasons


@given(st.lists(st.builds(pair, *[st.sampled_from(["", "a", "b", "c"])] * 2), max_size=12))
def test_what_is_left_of_pairs_is_one_statement_each(pairs):
    telling, dropped = telling_pairs(pairs)
    said = [(p["chosen"][0]["content"], p["rejected"][0]["content"]) for p in telling.values()]
    assert len(set(said)) == len(said)
    assert all(a and b and a != b and (b, a) not in said for a, b in said)
    assert len(telling) + sum(dropped.values()) == len(pairs)
    assert list(telling) == sorted(telling)


def tiny_job(folder, objective: str, rows: list[dict], max_length: int) -> TrainingJob:
    """A training of a model of which there is only the tokenizer."""
    make_tokenizer(["task go to the room"]).save_pretrained(folder / "model")
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = CONFIGS[objective](max_length=max_length)
    return TrainingJob(file, str(folder / "model"), folder / "out", folder, config, 0, objective)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "rows", "says"),
    [
        (
            "dpo",
            [
                pair("go " * 20 + "a", "go " * 20 + "b"),
                pair("a", "a"),
                pair("a", "b", "x" * 99),
            ],
            rf"nothing to train on; left out are 1 \({SAME}\), 1 \({SAME_AFTER_CUT}\), "
            rf"1 \({TOO_LONG}\)",
        ),
        ("sft", [{k: pair(" ", "")[v] for k, v in SFT_PARTS.items()}], rf"1 \({BLANK}\)"),
    ],
)
def test_rows_of_which_nothing_is_left_are_refused_before_the_model_is_loaded(
    tmp_path, objective, rows, says
):
    job = tiny_job(tmp_path, objective, rows, max_length=30)
    module = {"sft": sft, "dpo": dpo}[objective]
    with pytest.raises(InputError, match=says):
        module.make_trainer(job, module.read_rows(job.rows), None, {})


def test_what_is_left_out_is_warned_of():
    assert Fit(0, {}, 9).warnings == []
    [warning] = Fit(0, {SAME: 2, TOO_LONG: 1}, 9).warnings
    assert warning.endswith(f"2 ({SAME}), 1 ({TOO_LONG})")


@pytest.mark.slow
def test_a_row_that_the_template_refuses_is_named(tmp_path):
    rows = [pair("a", "b"), pair("c", "d")]
    rows[1]["prompt"].insert(0, {"role": "system", "content": "be brief"})
    job = tiny_job(tmp_path, "dpo", rows, max_length=30)
    template = TEMPLATE + "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}"
    job = replace(job, chat_template=template + "{% endif %}")
    with pytest.raises(InputError, match=r"rows\.jsonl: row 2: .*refuses a system message \(no\)"):
        dpo.make_trainer(job, dpo.read_rows(job.rows), None, {})


@pytest.mark.parametrize(("fall_per_token", "warned"), [(-0.5, False), (0.05, False), (0.2, True)])
def test_chosen_plans_that_become_unlikely_are_warned_of(fall_per_token, warned):
    config, fit = DpoConfig(beta=0.2), Fit(0, {}, answer_tokens=50)
    curve = [
        {"step": k, "rewards/chosen": -config.beta * fit.answer_tokens * fall_per_token * k / 20}
        for k in range(1, 21)
    ]
    assert bool(dpo.warnings(curve, config, fit)) == warned
