import pytest

from cluster.resources import Need, adapted_models, check_fits, local_cpus, resource_plan
from jobs.configs import named_config
from mpo_core.errors import InputError


def plan(*overrides, preset="demo-llm"):
    return resource_plan(named_config(preset, overrides))


def test_a_plan_counts_what_each_phase_holds():
    asked = plan("training.workers=2", "cluster.rollout_actors=3")
    assert asked.rollout == Need(3)
    assert asked.training == Need(2)
    assert asked.serving.cpus == pytest.approx(3.2)


def test_the_two_node_preset_needs_two_nodes_of_eight_gpus():
    asked = plan(preset="scienceworld-llama3.1-8b-2node")
    have = Need(2 * 64, 16)
    assert asked.together.gpus == 16
    assert check_fits(asked, have, None) is False
    with pytest.raises(InputError, match="the cluster has 64 CPUs and 8 GPUs"):
        check_fits(asked, Need(64, 8), None)


@pytest.mark.parametrize(
    ("preset", "turns"), [("scienceworld-llama3.1-8b", True), ("alfworld-llama3.1-8b-lora", False)]
)
def test_a_paper_sized_preset_fits_one_node_of_eight_gpus(preset, turns):
    asked = plan(preset=preset)
    assert check_fits(asked, Need(64, 8), None) is turns
    assert asked.playing.gpus <= 8 == asked.playing.gpus * (1 + (not turns))
    with pytest.raises(InputError, match="the cluster has 64 CPUs and 2 GPUs"):
        check_fits(asked, Need(64, 2), None)


def test_on_one_gpu_serving_and_training_take_turns():
    asked = plan(
        "models.llama-8b.replicas=1",
        "planner.sft.workers=1",
        "training.workers=1",
        preset="scienceworld-llama3.1-8b-lora",
    )
    assert check_fits(asked, Need(64, 1), None) is True
    assert check_fits(asked, Need(64, 2), None) is False
    with pytest.raises(InputError, match="take turns"):
        check_fits(asked, Need(64, 1), False)


def test_what_does_not_fit_is_said_in_one_line_with_what_to_lower():
    with pytest.raises(InputError, match=r"rollouts need .* has 4 CPUs: lower") as caught:
        check_fits(plan("cluster.rollout_actors=40"), Need(4), None)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"training need .*training\.workers"):
        check_fits(plan("training.workers=6", "training.batch_size=6"), Need(5), None)


def test_a_local_cluster_counts_what_is_needed_but_not_without_limit(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert local_cpus(plan(), None) == 6
    assert local_cpus(plan("cluster.rollout_actors=100"), None) == 8
    assert local_cpus(plan(), 3) == 3


TWO = "models.small={source: a/b}"


@pytest.mark.parametrize(
    "overrides, adapted",
    [
        ([], {"smollm2"}),
        (["planner.serve=engine"], set()),
        ([TWO, "agent.model=small"], {"smollm2"}),
        ([TWO, "agent.model=small", "planner.serve=engine"], set()),
        ([TWO, "agent.model=small", "agent.sft={}", "planner.serve=engine"], {"small"}),
        ([TWO, "agent.model=small", "agent.sft={method: full}"], {"smollm2"}),
    ],
)
def test_only_models_that_are_served_trained_can_have_adapters(overrides, adapted):
    assert adapted_models(named_config("demo-llm", overrides)) == adapted
