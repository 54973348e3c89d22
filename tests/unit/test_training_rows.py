"""Preference pairs as training reads them."""

import pytest

from mpo_core.errors import InputError
from mpo_core.training.dpo import read_rows
from mpo_core.types import PlanScore, PreferencePair


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
    with pytest.raises(InputError, match=r"pairs\.jsonl:2: not a preference pair: task_id"):
        read_rows(file)
