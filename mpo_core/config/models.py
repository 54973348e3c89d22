"""A run's chat models, of three kinds. Each has a key that no other kind has, and is told by it:
served by this suite (`source`), served elsewhere (`endpoint`), or a stand-in (`scripted`)."""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Discriminator, PositiveInt, Tag, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from mpo_core.config.declare import Section, decides, operational

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM sets aside memory for."""
OF_EVERY_REQUEST = {
    "model": "models.*.name",
    "messages": "the prompts",
    "n": "planner.per_task and the like",
    "temperature": "the temperature of planner, scoring, evaluation or seeds",
    "seed": "seed",
    "stop": "agent.thoughts and the prompts",
    "max_tokens": "max_tokens of planner, agent or seeds",
    "max_completion_tokens": "max_tokens of planner, agent or seeds",
}
"""Fields of a request that are not the model's -> what decides them."""
MAY_BE_OMITTED = (
    *("temperature", "max_completion_tokens", "max_tokens", "n", "seed", "stop", "top_p"),
    *("continue_final_message", "add_generation_prompt", "chat_template_kwargs"),
)
OF_THE_ENGINE = {
    "model": "source",
    "max_model_len": "max_model_len",
    "max_lora_rank": "max_lora_rank",
    "tensor_parallel_size": "gpus_per_replica",
}
"""Arguments of an engine that are settings of their own -> their names here."""
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class _Kind(Section):
    """A model of one kind."""

    KEY: ClassVar[str]
    """The setting by which this kind is told."""

    @classmethod
    def fields_of_other_kinds(cls) -> dict[str, FieldInfo]:
        return {
            name: field
            for kind in KINDS.values()
            for name, field in kind.model_fields.items()
            if name not in cls.model_fields
        }

    @field_validator("source", "endpoint", "scripted", "name", check_fields=False)
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or not value.isprintable()):
            raise ValueError(f"expected a text of printable signs, found {value!r}")
        return value


class AskedModelConfig(_Kind):
    """A model that answers requests, wherever it is served."""

    reasoning: Literal["auto", "on", "off"] = decides("auto")
    """Whether a model that can think before it answers does so; `auto` leaves it as it comes. What
    it thinks is neither plan nor action, and stands apart in the records."""
    extra_body: dict[str, Any] = decides({})
    """Further fields of every request, such as `chat_template_kwargs` or `reasoning_effort`."""
    concurrency: PositiveInt = operational(64)
    """Requests in flight from one process at most."""
    timeout_s: float = operational(600, gt=0)
    """Time limit of one request."""
    retries: int = operational(6, ge=0)
    """Retries of a failed request, with exponential backoff, before the run stops."""

    @field_validator("reasoning", mode="before")
    @classmethod
    def _yaml_switch(cls, value: Any) -> Any:
        """YAML reads a bare `on` and `off` as true and false."""
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value

    @field_validator("extra_body")
    @classmethod
    def _decided_nowhere_else(cls, body: dict[str, Any]) -> dict[str, Any]:
        _require_json(body)
        for field in OF_EVERY_REQUEST.keys() & body.keys():
            raise ValueError(f"{field} is decided by {OF_EVERY_REQUEST[field]}")
        return body


class ServedModelConfig(AskedModelConfig):
    """A model that this suite serves, by vLLM."""

    KEY = "source"
    source: str = decides()
    """A Hugging Face folder, a hub id, or `builtin:smollm2-135m-instruct`; served here by vLLM."""
    replicas: PositiveInt = operational(1)
    """Engine replicas; the requests of one episode go to one of them."""
    cpus_per_replica: float = operational(1, gt=0)
    """CPUs of one replica; where it serves on the CPU, its threads."""
    gpus_per_replica: int = operational(0, ge=0)
    """GPUs of one replica: its tensor-parallel degree. 0 serves on the CPU."""
    max_model_len: PositiveInt = decides(8192)
    """Longest prompt plus answer, in tokens."""
    max_lora_rank: PositiveInt = operational(64)
    """Largest rank of an adapter that the engine can load; sets aside memory for it."""
    engine_kwargs: dict[str, Any] = decides({})
    """Further vLLM engine arguments, as `ray.serve.llm` takes them."""

    @field_validator("max_lora_rank")
    @classmethod
    def _rank_of_the_engine(cls, rank: int) -> int:
        if rank not in LORA_RANKS:
            known = ", ".join(map(str, LORA_RANKS))
            raise ValueError(f"vLLM sets aside memory for one of {known}; found {rank}")
        return rank

    @field_validator("engine_kwargs")
    @classmethod
    def _no_second_place(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        _require_json(arguments)
        for name in OF_THE_ENGINE.keys() & arguments.keys():
            raise ValueError(f"{name} is the model's own setting {OF_THE_ENGINE[name]}")
        return arguments


class EndpointModelConfig(AskedModelConfig):
    """A model behind an OpenAI-compatible server of somebody else's."""

    KEY = "endpoint"
    endpoint: str = operational()
    """Base URL of an OpenAI-compatible server, for example http://127.0.0.1:8000/v1."""
    name: str | None = decides(None)
    """The model's name at the endpoint; by default its key in `models`."""
    api_key_env: str = operational("OPENAI_API_KEY")
    """Environment variable that holds the endpoint's key."""
    extra_headers: dict[str, str] = operational({})
    """Further headers of an endpoint's requests; `$NAME` in a value is an environment variable."""
    omit: list[str] = decides([])
    """Fields not to send to an endpoint, such as `temperature`, where its server refuses them."""
    prefill: Literal["auto", "continue", "ask"] = decides("auto")
    """How an endpoint's answer is made to begin as `agent.thoughts: false` and `agent.plan_mode:
    thought` need it: by a beginning that the server continues, or asked for in words; `auto` finds
    out."""

    @field_validator("endpoint")
    @classmethod
    def _whole_url(cls, url: str) -> str:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not whole or " " in url.strip():
            raise ValueError(f"{url!r} is not a whole URL, such as http://127.0.0.1:8000/v1")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(
                "names an environment variable, and this cannot be one; if it is the key itself, "
                "put it into the environment"
            )
        return name

    @field_validator("extra_headers")
    @classmethod
    def _names_of_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if not HEADER.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a header")
        return headers

    @field_validator("omit")
    @classmethod
    def _fields_that_are_sent(cls, fields: list[str]) -> list[str]:
        for field in fields:
            if field not in MAY_BE_OMITTED:
                raise ValueError(
                    f"{field!r} is none of the fields that may be left out "
                    f"({', '.join(MAY_BE_OMITTED)}){_meant(field, MAY_BE_OMITTED)}"
                )
        return fields


class ScriptedModelConfig(_Kind):
    """A deterministic function in a model's place."""

    KEY = "scripted"
    scripted: str = decides()
    """`module:function`, a deterministic stand-in for a model (tests, upper bounds)."""

    @field_validator("scripted")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.]+:\w+", value):
            raise ValueError(f"{value!r} is not written module:function")
        return value


KINDS: dict[str, type[ServedModelConfig | EndpointModelConfig | ScriptedModelConfig]] = {
    "source": ServedModelConfig,
    "endpoint": EndpointModelConfig,
    "scripted": ScriptedModelConfig,
}
"""Key -> the kind of model that it makes."""


def kind_of(settings: Mapping[str, Any]) -> str:
    """Of `KINDS`, the kind that a model's settings are of.

    Raises:
        ValueError: of none, or of several.
    """
    kinds = [key for key in KINDS if settings.get(key) is not None]
    unknown = [str(key) for key in settings if key not in KINDS]
    misspelt = [near for key in unknown for near in get_close_matches(key, KINDS, 1)]
    if not kinds and misspelt:
        return misspelt[
            0
        ]  # Its own validation says that the key is missing, and the other unknown.
    if len(kinds) != 1:
        found = f" (got {', '.join(kinds)}; leave one out, or set it to null)" if kinds else ""
        raise ValueError(f"give exactly one of source, endpoint, scripted{found}")
    return kinds[0]


def _of_one_kind(given: Any) -> Any:
    """Settings without those of other kinds that a null takes away.

    `source: null` takes along what only models with a source have: a preset's model becomes one of
    another kind by two settings, and configs that hold all keys are read.
    """
    if isinstance(given, _Kind):
        return given
    if not isinstance(given, Mapping):
        raise PydanticCustomError("model_type", "expected settings below it")
    kind = kind_of(given)
    own = KINDS[kind].model_fields
    taken = {
        name
        for key, other in KINDS.items()
        if key in given and given[key] is None
        for name in other.model_fields.keys() - own.keys()
    }
    left = {name: value for name, value in given.items() if name not in taken}
    faults = []
    for name in left.keys() - own.keys():
        owners = [key for key, other in KINDS.items() if name in other.model_fields]
        if owners:
            whose = f"only for a model with {' or '.join(owners)}, and this one has {kind}"
            faults.append(f"{name}: {whose}")
    if faults:
        raise ValueError("; ".join(sorted(faults)))
    return left


def _tag(given: Any) -> str:
    return f"[{given.KEY if isinstance(given, _Kind) else kind_of(given)}]"


ModelConfig = Annotated[
    Annotated[ServedModelConfig, Tag("[source]")]
    | Annotated[EndpointModelConfig, Tag("[endpoint]")]
    | Annotated[ScriptedModelConfig, Tag("[scripted]")],
    Discriminator(_tag),
    BeforeValidator(_of_one_kind),
]
"""A chat model of one of the three kinds."""


def _meant(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _require_json(value: Any) -> None:
    """Raises ValueError for what no request can hold: a day, a number that is none."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot be sent as JSON: {error}") from error
