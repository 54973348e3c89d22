"""What a dry run and a beginning with another run say of the work that is there and ahead."""

import pytest

from jobs.cli import main
from jobs.configs import named_config
from jobs.pipeline import run_pipeline
from jobs.prospects import STAGES, in_words, prospects
from jobs.run import Run
from mpo_core.config import Config, bearing_on, load_config, save_config
from mpo_core.errors import InputError
from tests.doors import config, open_doors

ALL = ["tasks", "seeds", "SFT", "plans", "scoring", "pairs", "DPO", "RFT", "PG", "controls"]


def command(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


@pytest.fixture
def before(tmp_path):
    """The folder of a run of the sandbox's settings that has done nothing."""
    folder = tmp_path / "before"
    save_config(
        named_config("sandbox", [f"runs_dir={tmp_path}", "name=before"]), folder / "config.yaml"
    )
    return folder


def anew(before, *overrides: str) -> dict[str, tuple[str, ...]]:
    """Stage -> why it is done anew."""
    now = load_config(before / "config.yaml", ["name=now", *overrides])
    return {one.stage: one.why for one in prospects(before, now) if one.why}


def test_stages_stand_in_the_order_of_the_loop_and_take_from_those_before():
    names = [stage.name for stage in STAGES]
    for number, stage in enumerate(STAGES):
        assert set(stage.after.split()) <= set(names[:number])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("runs_dir=elsewhere", {}),
        (
            "pairs.rule=margin",
            {
                "pairs": ("pairs.rule",),
                "DPO": ("pairs",),
                "controls": ("pairs",),
                "evaluation": ("DPO", "controls"),
            },
        ),
        ("planner.rft.pick=above_mean", {"RFT": ("planner.rft.pick",), "evaluation": ("RFT",)}),
        ("evaluation.plan_samples=1", {"evaluation": ("evaluation.plan_samples",)}),
        (
            "scoring.shuffle=[4]",
            {"controls": ("scoring.shuffle",), "evaluation": ("controls",)},
        ),
    ],
)
def test_a_setting_concerns_its_stage_and_those_after_it(before, override, expected):
    assert anew(before, override) == expected


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("models.teacher.scripted=tests.scripted:planner", ["tasks"]),
        ("models.planner.max_model_len=256", ["tasks", "seeds"]),
        ("agent.max_tokens=9", ["tasks", "seeds", "SFT", "plans"]),
        ("seed=9", ["tasks"]),
        ("envs.alfworld.tasks.train=10", []),
    ],
)
def test_what_comes_before_a_setting_is_kept(before, override, kept):
    assert [name for name in ALL if name not in anew(before, override)] == kept


def test_every_setting_that_bears_on_results_concerns_a_stage(before):
    now = load_config(before / "config.yaml")
    told = {key for stage in STAGES for key in stage.keys.split()}
    roles = {"models.agent": "agent", "models.planner": "planner", "models.teacher": "teacher"}
    assert set(roles) <= told
    for key in bearing_on(now, "decides", "adds", "selects"):
        # How many rounds there are concerns what is beside the first one's stages.
        if key.partition(".")[0] not in {"rounds", *now.moot()}:
            assert any(f"{key}.".startswith(f"{one}.") for one in told), key


def test_several_differences_concern_what_each_of_them_does(before):
    overrides = ["scoring.repetitions=9", "pairs.rule=margin", "training.beta=0.3"]
    each = [anew(before, override).keys() for override in overrides]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert anew(before, overrides[one], overrides[other]).keys() == each[one] | each[other]


@pytest.mark.slow
def test_a_beginning_says_what_it_keeps_and_the_same_run_is_none(tmp_path, monkeypatch, capsys):
    open_doors(monkeypatch)
    first: Config = config(tmp_path, tracking={"enabled": False})
    with Run(first) as run:
        run_pipeline(run)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    begin = ["run", first.run_dir, "name=more", "scoring.repetitions=3", "--from", first.run_dir]
    said = (
        f"begun with {first.run_dir}: keeps tasks, plans, evaluation; does anew what differs of "
        "scoring (scoring.repetitions), pairs (scoring)\n"
    )
    code, out, _ = command(capsys, *begin, "--dry-run")
    assert code == 0 and said in out
    code, _, err = command(capsys, "run", first.run_dir, "--from", first.run_dir)
    assert code == 2 and "this very run, which goes on without --from" in err
    code, out, _ = command(capsys, "run", first.run_dir, "--dry-run")
    assert code == 0 and "mine: finished" in out and "scoring    8 of at most 8 episodes" in out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    code, out, _ = command(capsys, *begin)
    assert code == 0 and out.startswith(said)
    code, out, _ = command(capsys, *begin)
    assert code == 0 and "more is there already and goes on; nothing is copied into it" in out


def test_what_is_not_done_there_is_gone_on_with(before):
    now = load_config(before / "config.yaml", ["name=now", "pairs.rule=margin"])
    words = in_words(prospects(before, now))
    assert words.startswith(
        "keeps nothing as it is; does anew what differs of pairs (pairs.rule), "
    )
    assert words.endswith("; goes on with tasks, seeds, SFT, plans, scoring, RFT, PG")


def test_a_dry_run_makes_no_games_and_says_how_many_would_be(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = command(
        capsys, "run", "alfworld-llama3.1-8b", "--dry-run", f"runs_dir={tmp_path}/runs"
    )
    assert code == 0, err
    assert "tasks      3321 train, 140 seen, 134 unseen" in out
    assert "the run first makes 3,595 tasks in about " in out and " min (alfworld)" in out
    assert "model      llama-8b: meta-llama/Llama-3.1-8B-Instruct is not in this machine's" in out
    assert not (tmp_path / "cache").exists() and not (tmp_path / "runs").exists()


def test_a_refused_run_leaves_no_empty_folder(tmp_path, monkeypatch):
    open_doors(monkeypatch)
    asked = config(tmp_path, tracking={"enabled": False})
    with pytest.raises(InputError), Run(asked):
        assert asked.run_dir.is_dir()
        raise InputError("no room")
    assert not asked.run_dir.exists()
    with pytest.raises(ZeroDivisionError), Run(asked):
        raise ZeroDivisionError
    assert asked.run_dir.is_dir()
    with pytest.raises(InputError), Run(asked):
        raise InputError("there before")
    assert asked.run_dir.is_dir()
