"""`import mpo_core`: the loop as functions of values, in and outside of a running event loop."""

import ast
import asyncio
import inspect
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpo_core as mpo
from mpo_core.config import Section, parse_config
from mpo_core.exact import exact_mean
from tests.doors import config as doors_config
from tests.doors import open_doors
from tests.fake_server import fake_server
from tests.fakes import PROMPTS, Doors, episode, request, task

PLANS = ("Step 1: Enter.", "Step 1: Knock.", "Step 1: Look.")
ENVS = mpo.Environments({"alfworld": Doors(Section())}, {"alfworld": PROMPTS})
TRAIN, UNSEEN = ENVS.tasks("train"), ENVS.tasks("unseen")


def write(messages, seed):
    return PLANS[seed % len(PLANS)]


def obey(messages, seed):
    """Does what the plan says, if there is one."""
    said = messages[-1]["content"] if len(messages) == 1 else messages[0]["content"]
    verbs = [verb for verb in ("enter", "knock") if f"Step 1: {verb.capitalize()}" in said]
    return f"Thought: hm.\nAction: {verbs[0] if verbs else 'look'}"


class Counted:
    """A function in a model's place that counts how often it is asked."""

    def __init__(self, function):
        self.function, self.asked = function, 0

    def __call__(self, messages, seed):
        self.asked += 1
        return self.function(messages, seed)


@pytest.fixture
def planner():
    return mpo.planner(mpo.model(scripted=write), per_task=3)


@pytest.fixture
def agent():
    return mpo.agent(mpo.model(scripted=obey), example=False)


def in_a_loop(function, *arguments, **settings):
    async def main():
        return function(*arguments, **settings)

    return asyncio.run(main())


def in_a_thread(function, *arguments, **settings):
    async def main():
        return await asyncio.to_thread(function, *arguments, **settings)

    return asyncio.run(main())


def at_once(function, *arguments, **settings):
    return function(*arguments, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("call", [at_once, in_a_loop, in_a_thread])
def test_the_loop_runs_by_values_also_where_an_event_loop_runs(call, planner, agent):
    tasks = call(ENVS.tasks, "train")
    plans = call(mpo.sample_plans, ENVS, tasks, planner)
    assert [plan.task_id for plan in plans] == [t.id for t in tasks for _ in range(3)]
    episodes = call(mpo.play, ENVS, tasks, plans, agent, repetitions=2)
    assert len(episodes) == 12
    scores = mpo.score_plans(plans, episodes)
    worth = {"Step 1: Enter.": 1.0, "Step 1: Knock.": 0.5, "Step 1: Look.": 0.0}
    texts = {plan.id: plan.text for plan in plans}
    assert {texts[s.plan_id]: s.mean for s in scores} == worth
    pairs = mpo.make_pairs(ENVS, tasks, plans, scores)
    assert [p.task_id for p in pairs] == [t.id for t in tasks]
    assert all(p.chosen[0]["content"] == PLANS[0] for p in pairs)
    arms = {"none": None, "base": planner, "given": plans, "expert": mpo.EXPERT}
    held = call(mpo.evaluate, ENVS, tasks, arms, agent, bootstrap=50)
    means = held.table.set_index("arm")["mean_reward"].round(3).to_dict()
    assert means == {"none": 0.0, "base": 1.0, "given": 0.5, "expert": 1.0}
    assert set(held.differences["arm_b"]) == {"base"}


def test_more_plans_a_task_are_drawn_beside_those_that_are_kept(tmp_path, planner):
    one, other = TRAIN
    kept = {"folder": tmp_path}
    three = mpo.sample_plans(ENVS, [one], planner, per_task=3, **kept)
    both = mpo.sample_plans(ENVS, [one, other], planner, per_task=2, **kept)
    assert [plan.task_id for plan in both] == [one.id] * 2 + [other.id] * 2
    assert both[:2] == three[:2]
    assert mpo.sample_plans(ENVS, [one], planner, per_task=4, **kept)[:3] == three
    greedy = mpo.sample_plans(ENVS, [one], planner, per_task=1, temperature=0, **kept)
    assert greedy[0].origin != three[0].origin


def test_a_teacher_is_shown_the_experts_episodes(tmp_path):
    told = replace(PROMPTS, teacher="{task} was done so: {trajectory}")
    envs = mpo.Environments(ENVS.suites, {"alfworld": told})
    asked = []

    def teach(messages, seed):
        asked.append(messages[-1]["content"])
        return "Step 1: Knock.\nStep 2: Enter."

    teacher = mpo.planner(mpo.model(scripted=teach), per_task=1)
    plans = mpo.seed_plans(envs, TRAIN, teacher, folder=tmp_path)
    assert [plan.task_id for plan in plans] == [one.id for one in TRAIN]
    assert len(asked) == 2 and all("> knock" in text and "> enter" in text for text in asked)
    assert mpo.seed_plans(envs, TRAIN, teacher, folder=tmp_path) == plans and len(asked) == 2
    with pytest.raises(mpo.InputError, match="alfworld: there is no rule-based teacher for it"):
        mpo.seed_plans(envs, TRAIN)


def test_the_rows_of_each_training_come_of_the_same_values(planner, agent):
    plans = mpo.sample_plans(ENVS, TRAIN, planner)
    scores = mpo.score_plans(plans, mpo.play(ENVS, TRAIN, plans, agent, repetitions=1))
    assert len(mpo.make_demonstrations(ENVS, TRAIN, plans)) == len(plans)
    best = mpo.make_demonstrations(ENVS, TRAIN, plans, scores)
    assert [row.completion[0]["content"] for row in best] == [PLANS[0]] * len(TRAIN)
    answers = mpo.scored_answers(ENVS, TRAIN, plans, scores)
    assert sum(answer.advantage for answer in answers) == pytest.approx(0)


def test_a_folder_keeps_what_was_done_and_the_same_call_goes_on_from_it(tmp_path):
    writes, plays = Counted(write), Counted(obey)
    planner = mpo.planner(mpo.model(scripted=writes, name="writer"), per_task=3)
    agent = mpo.agent(mpo.model(scripted=plays, name="player"), example=False)

    def done(repetitions):
        plans = mpo.sample_plans(ENVS, TRAIN, planner, folder=tmp_path)
        kept = {"repetitions": repetitions, "folder": tmp_path}
        return plans, mpo.play(ENVS, TRAIN, plans, agent, **kept)

    plans, episodes = done(2)
    written, played = writes.asked, plays.asked
    assert written and played
    assert done(2) == (plans, episodes)
    assert (writes.asked, plays.asked) == (written, played)
    again, more = done(3)
    assert again == plans and {e.key for e in episodes} < {e.key for e in more}
    assert writes.asked == written and plays.asked > played


def test_without_a_folder_nothing_stays_on_disk(tmp_path, monkeypatch, planner, agent):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    mpo.evaluate(ENVS, UNSEEN, {"none": None, "base": planner}, agent, plan_samples=2, bootstrap=9)
    assert list(tmp_path.iterdir()) == []


def test_auto_repetitions_play_some_plans_more_often(planner, agent):
    plans = mpo.sample_plans(ENVS, TRAIN, planner)
    episodes = mpo.play(ENVS, TRAIN, plans, agent, repetitions="auto", temperature=1.0)
    assert set(Counter(e.plan_id for e in episodes)) == {plan.id for plan in plans}
    assert len(episodes) > len(plans)


@given(
    rewards=st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 1.0]), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
    order=st.randoms(use_true_random=False),
)
def test_a_score_is_the_mean_of_the_plans_own_episodes_in_any_order(rewards, order):
    asked = [
        [request(0, f"Step 1: Plan {k}.", n) for n in range(len(given))]
        for k, given in enumerate(rewards)
    ]
    plans = [of_plan[0].plan for of_plan in asked]
    played = [
        episode(one, reward)
        for of_plan, given in zip(asked, rewards, strict=True)
        for one, reward in zip(of_plan, given, strict=True)
    ]
    order.shuffle(played)
    # What was played twice, and what was played without a plan, changes nothing.
    played += [played[0], episode(request(0, None), 1.0)]
    scores = mpo.score_plans([*plans, plans[0]], played)
    assert [score.plan_id for score in scores] == [plan.id for plan in plans]
    assert [score.exact for score in scores] == [exact_mean(given) for given in rewards]
    assert [score.mean for score in scores] == pytest.approx([fmean(g) for g in rewards])


STRANGER = mpo.Plan.of("toy/door/99", "Step 1: Enter.", "test")
ELSEWHERE = task(0)
NOBODY = mpo.model(scripted=obey)
WRITER = mpo.planner(mpo.model(scripted=write))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (mpo.model, "give exactly one of source, endpoint, scripted"),
        (lambda: mpo.model(source="a/b", endpoint="http://h:1/v1"), "got source, endpoint"),
        (lambda: mpo.model(source="a/b", max_len=3), "max_len: unknown key"),
        (lambda: mpo.model(scripted=Counted(obey)), "cannot be read.*give it a name"),
        (lambda: mpo.planner(NOBODY, sft={}), "planner: sft: no such setting"),
        (lambda: mpo.planner(NOBODY, per_task=0), "planner: per_task: .*greater than 0"),
        (lambda: mpo.agent(NOBODY, max_step=3), r"max_step: unknown key \(did you mean max_steps"),
        (lambda: mpo.environments({"nowhere": {}}), "envs.nowhere: no such environment"),
        (lambda: mpo.environments({"alfworld": {"task": {}}}), "envs.alfworld: task: unknown key"),
        (lambda: mpo.from_config("no.yaml"), "no.yaml: not readable"),
        (lambda: mpo.play(ENVS, TRAIN, [STRANGER], mpo.agent(NOBODY)), "belong to none of"),
        (
            lambda: mpo.play(ENVS, [ELSEWHERE], None, mpo.agent(NOBODY)),
            "not among the environments",
        ),
        (lambda: mpo.play(ENVS, TRAIN, [], mpo.agent(NOBODY), repetitions=0), "repetitions: "),
        (lambda: mpo.play(ENVS, TRAIN, None, mpo.agent(NOBODY), repetitions="auto"), "are none"),
        (lambda: mpo.sample_plans(ENVS, [], WRITER, per_task=0), "sample_plans: per_task: "),
        (lambda: mpo.sample_plans(ENVS, [ELSEWHERE], WRITER), "not among the environments"),
        (
            lambda: mpo.evaluate(ENVS, TRAIN, {"x": None}, mpo.agent(NOBODY), repetitions=0),
            "evaluate: rep",
        ),
        (lambda: mpo.score_plans([STRANGER], []), "was not played"),
        (lambda: mpo.make_pairs(ENVS, TRAIN, [], [], rule="worst"), "make_pairs: rule: "),
        (lambda: mpo.make_demonstrations(ENVS, TRAIN, [STRANGER]), "not among the tasks"),
        (lambda: mpo.evaluate(ENVS, [], {"none": None}, mpo.agent(NOBODY)), "no tasks or no arms"),
        (lambda: mpo.evaluate(ENVS, TRAIN, {"x": []}, mpo.agent(NOBODY)), "2 of 2 tasks have no"),
        (
            lambda: mpo.evaluate(ENVS, TRAIN, {"x": "rft"}, mpo.agent(NOBODY)),
            "x: 'rft': an arm plays",
        ),
        (lambda: mpo.evaluate(ENVS, TRAIN, {"x": 4}, mpo.agent(NOBODY)), "x: 4: an arm plays"),
        (lambda: mpo.train([], mpo.planner(NOBODY), "out"), "no rows to train on"),
        (lambda: mpo.train([TRAIN[0]], mpo.planner(NOBODY), "out"), "rows are PreferencePair, "),
    ],
)
def test_bad_input_is_one_clear_line(call, said):
    with pytest.raises(mpo.InputError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_scores_of_several_agents_are_not_mixed():
    played = [
        episode(one, 1.0).model_copy(update={"model": name})
        for name in ("one", "other")
        for one in [request(0, repetition=len(name))]
    ]
    with pytest.raises(mpo.InputError, match=r"several agents: one .*, other"):
        mpo.score_plans([request(0).plan], played)


def test_a_scripted_models_code_is_its_identity():
    one = mpo.model(scripted=write)
    assert one.fingerprint == mpo.model(scripted=write).fingerprint
    assert one.fingerprint != mpo.model(scripted=obey).fingerprint
    assert mpo.model(scripted=lambda messages, seed: "", name="mute").fingerprint == "mute"
    named = mpo.model(scripted="tests.scripted:planner")
    assert named.fingerprint == "tests.scripted:planner"


@pytest.mark.slow
def test_a_server_is_asked_call_by_call_within_one_running_loop():
    with fake_server() as server:
        served = mpo.model(endpoint=server.url, name="fake")
        planner, agent = mpo.planner(served, per_task=2), mpo.agent(served, example=False)

        async def main():
            plans = mpo.sample_plans(ENVS, TRAIN, planner)
            return plans, mpo.play(ENVS, TRAIN, plans, agent, repetitions=1)

        plans, episodes = asyncio.run(main())
    assert len(plans) == 4 and len(episodes) == 4
    assert {episode.model for episode in episodes} == {"fake"}
    assert len(server.asked) > len(TRAIN)


def test_a_config_gives_the_same_loop(tmp_path, monkeypatch):
    open_doors(monkeypatch)
    monkeypatch.setattr("mpo_core.setup.suite_class", lambda name: Doors)
    given = doors_config(tmp_path)
    config, envs, planner, agent = mpo.from_config(parse_config(given.model_dump()))
    assert config == given and (planner.seed, agent.seed) == (given.seed, given.seed)
    plans = mpo.sample_plans(envs, envs.tasks("train"), planner)
    assert len(plans) == 2 * config.planner.per_task
    with pytest.raises(mpo.InputError, match="overrides are for a file"):
        mpo.from_config(config, ["seed=1"])


@pytest.mark.slow
def test_importing_costs_nothing_and_using_it_neither_torch_ray_nor_mlflow():
    code = (
        "import sys, mpo_core as mpo\n"
        "assert not [m for m in sys.modules if m.startswith('mpo_core.')], 'imports eagerly'\n"
        "assert 'pydantic' not in sys.modules\n"
        "[getattr(mpo, name) for name in mpo.__all__]\n"
        "print([m for m in ('torch', 'ray', 'vllm', 'mlflow', 'transformers') if m in sys.modules])"
    )
    root = str(Path(mpo.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_is_offered_is_what_type_checkers_see():
    tree = ast.parse(Path(mpo.__file__).read_text(encoding="utf-8"))
    [guarded] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = chain.from_iterable(node.names for node in guarded.body)
    assert sorted(mpo.__all__) == sorted(name.name for name in seen)
    assert set(mpo.__all__) <= set(dir(mpo))
    # A module of the same name would take the place of what is offered, once it is imported.
    modules = {path.stem for path in Path(mpo.__file__).parent.iterdir()}
    assert modules.isdisjoint(mpo.__all__) and "loop" in modules
    with pytest.raises(AttributeError, match="no attribute 'plan'"):
        _ = mpo.plan


@pytest.mark.parametrize("name", [n for n in mpo.__all__ if inspect.isfunction(getattr(mpo, n))])
def test_every_function_says_what_it_takes_gives_and_refuses(name):
    text = inspect.getdoc(getattr(mpo, name))
    assert text
    assert "Example:" in text and ">>>" in text
    if name != "scored_answers":
        assert "Raises" in text
