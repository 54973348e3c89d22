"""Where and how a run is made, and where its record is kept: nothing here bears on results."""

from pathlib import Path

from pydantic import PositiveInt

from mpo_core.config.declare import Section, operational


class ClusterConfig(Section):
    """Where the work is done: in this process, or by Ray."""

    enabled: bool = operational(True)
    """False runs everything in this process, without Ray: endpoints and scripted models only."""
    address: str | None = operational(None)
    """HOST:PORT of a running Ray cluster, or `auto`; by default RAY_ADDRESS, else a private local
    one."""
    logical_cpus: PositiveInt | None = operational(None)
    """CPUs that a private local cluster counts; by default the machine's, and at least what the
    config needs, since engines, actors and workers take turns on a small machine."""
    http_host: str = operational("127.0.0.1")
    """Address that the OpenAI-compatible HTTP server listens on. It asks nobody who they are:
    `0.0.0.0` lets everyone in who reaches the machine."""
    http_port: int = operational(0, ge=0, le=65535)
    """Port of the HTTP server; 0 picks a free one."""
    engine_start_timeout_s: float = operational(1800, gt=0)
    """Seconds that an engine may take to start."""
    rollout_actors: PositiveInt = operational(1)
    """Processes that play episodes, each with environments of its own."""
    cpus_per_rollout_actor: float = operational(1, gt=0)
    """CPUs that Ray sets aside for each of them."""
    episodes_in_flight: PositiveInt = operational(32)
    """Episodes that one rollout actor plays at a time."""
    episode_attempts: PositiveInt = operational(5)
    """Times that an episode is started when actors, engines or environments fail under it."""
    free_engines_for_training: bool | None = operational(None)
    """Stop the engines while the planner trains; by default, when the GPUs do not suffice for
    both."""


class TrackingConfig(Section):
    """What is written down in MLflow."""

    enabled: bool = operational(True)
    """False writes nothing to MLflow."""
    uri: str | None = operational(None)
    """MLflow tracking URI; by default MLFLOW_TRACKING_URI, else `sqlite:///<runs_dir>/mlflow.db`."""
    experiment: str = operational("mpo")
    """MLflow experiment that the run is logged to."""
    parent: str | None = operational(None)
    """MLflow run that this run's stands under, by its id, or a sweep's by its folder; `mpo sweep`
    sets it."""
    wait_s: float = operational(30, ge=0)
    """Seconds that the end of a run waits, at most, for what MLflow does not have yet; `mpo track
    sync RUN` sends the rest."""
    traces: int = operational(50, ge=0)
    """Episodes of each stage whose texts MLflow is given, as traces; it has the figures of all."""
    system_metrics: bool = operational(True)
    """The load of the machine that the run is driven from, over time."""
    upload_planner: bool = operational(False)
    """Send the trained planner's weights to MLflow; else its registry says where they lie."""


class SlurmConfig(Section):
    """What a job of `mpo sweep --on slurm` asks for; `slurm/*.sh` say it at their top instead."""

    partition: str | None = operational(None)
    """Partition; by default the cluster's."""
    account: str | None = operational(None)
    """Account that is charged; by default the user's."""
    nodes: PositiveInt = operational(1)
    """Nodes of a job."""
    cpus_per_node: PositiveInt | None = operational(None)
    """CPUs of each node; by default what Slurm gives."""
    gpus_per_node: int = operational(0, ge=0)
    """GPUs of each node."""
    memory_gb: float | None = operational(None, gt=0)
    """Memory of each node; by default the partition's."""
    hours: float = operational(24, gt=0)
    """Time limit of one attempt; what is not done by then is requeued and goes on."""
    setup: list[str] = operational([])
    """Shell lines to run before the job, such as `module load cuda`."""
    options: dict[str, str | int | bool] = operational({})
    """Further options of sbatch, by their long names."""


class RayJobConfig(Section):
    """How `mpo run --on ray` submits the run to a running Ray cluster."""

    address: str | None = operational(None)
    """Address of the cluster's dashboard; by default RAY_API_SERVER_ADDRESS or RAY_ADDRESS, else
    http://127.0.0.1:8265."""
    working_dir: Path | None = operational(Path("."))
    """Folder that the job runs in, sent along without `runs_dir`, caches and what its .gitignore
    names; null where the cluster has the suite installed."""
    env_vars: list[str] = operational(["HF_TOKEN", "OPENAI_API_KEY", "MLFLOW_TRACKING_URI"])
    """Environment variables to hand on, by name, where they are set; so are, whatever stands here,
    those that the models' `api_key_env` name, and MLflow's login."""


class KubernetesConfig(Section):
    """How `mpo run --on k8s` makes a KubeRay RayJob of the run; see k8s/README.md. In the cluster
    the run's folder is below /mnt/runs, whatever `runs_dir` says here."""

    overlay: str = operational("cpu")
    """A folder of `k8s/overlays`, or a path to an overlay of your own."""
    namespace: str = operational("mpo", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Kubernetes namespace, which must be there, with the secrets that k8s/README.md names."""
    context: str | None = operational(None)
    """kubectl's context; by default the current one."""
    image: str | None = operational(None)
    """Image of Ray's pods (`k8s/Dockerfile`), such as registry/mpo-suite:gpu; by default the
    overlay's."""


class LaunchConfig(Section):
    """What differs per place; it decides nothing about a run's results."""

    slurm: SlurmConfig = SlurmConfig()
    ray: RayJobConfig = RayJobConfig()
    k8s: KubernetesConfig = KubernetesConfig()
