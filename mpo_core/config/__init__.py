"""The one config tree: YAML plus `dotted.key=value`, checked whole before anything starts.

The string under a field is its documentation; `mpo config` prints it. Whether a setting decides
results is said where it is declared (`declare.py`); runs, trainings, sweeps and merged reports
tell each other apart by that. Relative paths are relative to the folder the command is run in;
`~` and `~user` are home folders. `load_config` raises `InputError` with one line per fault.
"""

from mpo_core.config.declare import (
    Section,
    Setting,
    adds,
    bearing_on,
    decides,
    deciding,
    identity,
    operational,
    selects,
    settings,
)
from mpo_core.config.feedback import FeedbackConfig
from mpo_core.config.launch import (
    ClusterConfig,
    KubernetesConfig,
    LaunchConfig,
    RayJobConfig,
    SlurmConfig,
    TrackingConfig,
)
from mpo_core.config.models import (
    KINDS,
    AskedModelConfig,
    EndpointModelConfig,
    ModelConfig,
    ScriptedModelConfig,
    ServedModelConfig,
    kind_of,
)
from mpo_core.config.proxy import ProxyConfig, is_loopback
from mpo_core.config.reading import (
    load_config,
    models_of_file,
    parse_config,
    require_used,
    save_config,
    validated,
)
from mpo_core.config.sections import (
    ROUND_ARM,
    WITHOUT_PLANNER,
    AgentConfig,
    Arm,
    EvaluationConfig,
    PairsConfig,
    PlannerConfig,
    ScoringConfig,
    SeedsConfig,
)
from mpo_core.config.training import (
    SMOOTHED_LOSSES,
    DpoConfig,
    DpoLoss,
    LoraConfig,
    PgConfig,
    RftConfig,
    SftConfig,
    TrainingConfig,
)
from mpo_core.config.tree import Config

__all__ = [
    "KINDS",
    "ROUND_ARM",
    "SMOOTHED_LOSSES",
    "WITHOUT_PLANNER",
    "AgentConfig",
    "Arm",
    "AskedModelConfig",
    "ClusterConfig",
    "Config",
    "DpoConfig",
    "DpoLoss",
    "EndpointModelConfig",
    "EvaluationConfig",
    "FeedbackConfig",
    "KubernetesConfig",
    "LaunchConfig",
    "LoraConfig",
    "ModelConfig",
    "PairsConfig",
    "PgConfig",
    "PlannerConfig",
    "ProxyConfig",
    "RayJobConfig",
    "RftConfig",
    "ScoringConfig",
    "ScriptedModelConfig",
    "Section",
    "SeedsConfig",
    "ServedModelConfig",
    "Setting",
    "SftConfig",
    "SlurmConfig",
    "TrackingConfig",
    "TrainingConfig",
    "adds",
    "bearing_on",
    "decides",
    "deciding",
    "identity",
    "is_loopback",
    "kind_of",
    "load_config",
    "models_of_file",
    "operational",
    "parse_config",
    "require_used",
    "save_config",
    "selects",
    "settings",
    "validated",
]
