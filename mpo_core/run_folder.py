"""A run's folder: what its files are called, and where they lie. Nothing else spells their names.

config.yaml                         the run's settings, as it was begun with them
tasks/<split>.jsonl                 with the environments' instructions
plans/<planner>-<split>.jsonl       `seeds` for the teacher's; plans/sampled/ for an evaluation's
episodes/<stage>.jsonl              expert, scoring, validation, evaluation
scores.parquet                      of the first round; scores-2.parquet of the second
pairs/ demonstrations/ answers/ given/   the rows of trainings, validation tasks' apart
agent/sft/ planner/<version>/       weights; planner/served/ as engines load them
checkpoints/<version>/              of a training that has not ended
rounds.json  timings.json  mlflow_run_id  view.sqlite
conversations.jsonl  feedback.json  callers' conversations, and the rounds that learnt from them
report/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RunFolder:
    """Paths below `path`; none of them need be there."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings that it was begun with."""
        return self.path / "config.yaml"

    @property
    def timings(self) -> Path:
        """Stage -> seconds and amounts, over all attempts at the run."""
        return self.path / "timings.json"

    @property
    def rounds(self) -> Path:
        """The outcomes of the rounds so far."""
        return self.path / "rounds.json"

    @property
    def conversations(self) -> Path:
        """Which arm each of the callers' episodes was drawn into."""
        return self.path / "conversations.jsonl"

    @property
    def feedback(self) -> Path:
        """What each round has learnt from callers' feedback."""
        return self.path / "feedback.json"

    @property
    def mlflow_run(self) -> Path:
        """The id of the run in MLflow."""
        return self.path / "mlflow_run_id"

    @property
    def view(self) -> Path:
        """Where the records stand, for `mpo view`; a copy that may be deleted at any time."""
        return self.path / "view.sqlite"

    @property
    def report(self) -> Path:
        """A folder, as `mpo_core.report.write_report` fills it."""
        return self.path / "report"

    def of_this_run_alone(self) -> set[str]:
        """What says nothing of a run that begins with a copy of this folder."""
        alone = (self.config, self.report, self.mlflow_run, self.timings, self.rounds)
        return {path.name for path in (*alone, self.feedback, self.path / "checkpoints")}

    def holds_work(self) -> bool:
        """Whether a stage has left something: each has a folder of its own, and tasks alone are
        what any settings would collect anew."""
        return any(path.is_dir() and path.name != "tasks" for path in self.path.iterdir())

    # --------------------------------------------------------------------- what is played

    def records(self, kind: Literal["tasks", "plans", "episodes", "pairs"]) -> list[Path]:
        """The files that hold such records, those in folders below too."""
        return sorted(path for path in (self.path / kind).rglob("*.jsonl") if path.is_file())

    def tasks(self, split: str) -> Path:
        """A split's tasks, with their instructions."""
        return self.path / "tasks" / f"{split}.jsonl"

    def plans(self, planner: str, split: str, *, sampled: bool = False) -> Path:
        """A planner's plans: those of a stage, or those sampled besides for an evaluation."""
        folder = self.path / "plans" / "sampled" if sampled else self.path / "plans"
        return folder / f"{planner}-{split}.jsonl"

    def seeds(self, split: str) -> Path:
        """A teacher's plans."""
        return self.plans("seeds", split)

    def planners_plans(self) -> Iterator[tuple[str, str, Path]]:
        """Planner, split and file of all plans that are there, but for the teacher's."""
        for path in sorted((self.path / "plans").glob("*.jsonl")):
            planner, split = path.stem.rsplit("-", 1)
            if planner != "seeds":
                yield planner, split, path

    def episodes(self, stage: str) -> Path:
        """The ledger of what a stage has played."""
        return self.path / "episodes" / f"{stage}.jsonl"

    # --------------------------------------------------------------------- what is learnt from

    def scores(self, round_number: int = 1) -> Path:
        """Of the training tasks' plans in a round."""
        return self.path / in_round("scores.parquet", round_number)

    def pairs(self, round_number: int = 1) -> Path:
        """A round's preference pairs, but for the validation tasks'."""
        return self.path / "pairs" / in_round("pairs.jsonl", round_number)

    def validation_pairs(self, round_number: int = 1) -> Path:
        """A round's preference pairs of the validation tasks."""
        return self.path / "pairs" / in_round("validation.jsonl", round_number)

    def control_pairs(self, control: str) -> Path:
        """The first round's pairs, as a control planner is trained on them."""
        return self.path / "pairs" / f"{control}.jsonl"

    def demonstrations(self, version: str) -> Path:
        """What a training imitates, but for the validation tasks'."""
        return self.path / "demonstrations" / f"{version}.jsonl"

    def validation_demonstrations(self, version: str) -> Path:
        """What a training is measured on: the validation tasks'."""
        return self.path / "demonstrations" / f"{version}-validation.jsonl"

    def answers(self) -> Path:
        """Scored plans, the rows of policy gradient."""
        return self.path / "answers" / "answers.jsonl"

    def validation_answers(self) -> Path:
        """Those of the validation tasks."""
        return self.path / "answers" / "validation.jsonl"

    def given(self, method: str) -> Path:
        """Rows of the user's own to train on."""
        return self.path / "given" / f"{method}.jsonl"

    # --------------------------------------------------------------------- what is learnt

    @property
    def agent(self) -> Path:
        """Folder of the weights of the fine-tuned agent."""
        return self.path / "agent" / "sft"

    def planner(self, version: str) -> Path:
        """Folder of the weights of a version of the planner."""
        return self.planners / version

    @property
    def planners(self) -> Path:
        """Folder of the planner's versions."""
        return self.path / "planner"

    @property
    def served(self) -> Path:
        """Folder of the adapters that engines load."""
        return self.planners / "served"

    def checkpoints(self, version: str) -> Path:
        """Folder of an unfinished training."""
        return self.path / "checkpoints" / version


def in_round(name: str, number: int) -> str:
    """A file's name in a round: `scores.parquet` in the first, `scores-2.parquet` in the second."""
    stem, suffix = name.split(".")
    return name if number == 1 else f"{stem}-{number}.{suffix}"
