"""What a config needs of the cluster, against what the cluster has: checked before anything starts.

Serving and training take turns on small clusters: the plan says whether they must.
"""

import os
from dataclasses import dataclass

from mpo_core.config import Config, ModelConfig
from mpo_core.errors import InputError

# Serve's controller, proxy and HTTP ingress, and the driver's own tasks.
SERVE_CPUS = 0.2


@dataclass(frozen=True)
class Need:
    """CPUs and GPUs that something holds while it runs."""

    cpus: float
    gpus: int = 0

    def __add__(self, other: "Need") -> "Need":
        return Need(self.cpus + other.cpus, self.gpus + other.gpus)

    def fits(self, have: "Need") -> bool:
        return self.cpus <= have.cpus + 1e-6 and self.gpus <= have.gpus

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus} GPUs" if self.gpus else "")


@dataclass(frozen=True)
class ResourcePlan:
    """What each phase holds."""

    serving: Need
    rollout: Need
    training: Need

    @property
    def playing(self) -> Need:
        return self.serving + self.rollout

    @property
    def together(self) -> Need:
        """Engines stay up while the planner trains; the rollout actors are gone by then."""
        serving_and_training = self.serving + self.training
        return Need(
            max(self.playing.cpus, serving_and_training.cpus),
            max(self.playing.gpus, serving_and_training.gpus),
        )


def served_models(config: Config) -> dict[str, ModelConfig]:
    """The models that this run serves itself, by name."""
    names = dict.fromkeys([config.agent.model, config.planner.model])
    return {name: config.models[name] for name in names if config.models[name].source}


def adapted_models(config: Config) -> set[str]:
    """Of the models that this run serves, those that it also serves trained, as adapters."""
    planner, agent = config.planner, config.agent
    adapted = {planner.model} if planner.serve == "adapter" else set()
    if agent.sft and agent.sft.method == "lora":
        adapted.add(agent.model)
    return adapted


def resource_plan(config: Config) -> ResourcePlan:
    """What the config's phases need."""
    # With feedback, the proxy serves the planner, and the callers have their agent.
    served = served_models(config) if config.source == "rollouts" else {}
    serving = Need(SERVE_CPUS) if served else Need(0)
    for model in served.values():
        serving += _engine_need(model)
    trainings, cluster = config.trainings, config.cluster
    if served and trainings.keys() - {"agent.sft"} and config.planner.serve == "engine":
        serving += _engine_need(served[config.planner.model])
    if config.agent.sft and config.agent.sft.method == "full":
        serving += _engine_need(served[config.agent.model])
    return ResourcePlan(
        serving=serving,
        rollout=Need(cluster.rollout_actors * cluster.cpus_per_rollout_actor),
        training=Need(
            max((t.workers * t.cpus_per_worker for t in trainings.values()), default=0),
            max((t.workers * t.gpus_per_worker for t in trainings.values()), default=0),
        ),
    )


def _engine_need(model: ModelConfig) -> Need:
    # A replica is one CPU for its actor, and a bundle for each of its engine's workers.
    workers = max(model.gpus_per_replica, 1)
    return Need(
        model.replicas * (1 + workers * model.cpus_per_replica),
        model.replicas * model.gpus_per_replica,
    )


def check_fits(plan: ResourcePlan, have: Need, free_engines: bool | None) -> bool:
    """Whether the engines must be stopped while the planner trains.

    Raises:
        InputError: the config does not fit the cluster, in one line with what to change.
    """
    for phase, need, settings in (
        ("serving and rollouts", plan.playing, "models.*.replicas or cluster.rollout_actors"),
        ("training", plan.training, "training.workers"),
    ):
        if not need.fits(have):
            raise InputError(
                f"{phase} need {need}, the cluster has {have}: lower {settings}, or bring more "
                "nodes"
            )
    must_free = not (plan.serving + plan.training).fits(have)
    if free_engines is False and must_free:
        raise InputError(
            f"serving and training together need {plan.serving + plan.training}, the cluster has "
            f"{have}: leave cluster.free_engines_for_training unset to let them take turns"
        )
    return must_free if free_engines is None else free_engines


def local_cpus(plan: ResourcePlan, asked: int | None) -> int:
    """CPUs that a private local cluster counts.

    On one machine engines, actors and training workers take turns, so a CPU may be counted more
    than once; but a machine is not overbooked more than fourfold.
    """
    machine = os.cpu_count() or 1
    if asked is not None:
        return asked
    wanted = max(machine, int(-(-plan.together.cpus // 1)))
    return min(wanted, 4 * machine)
