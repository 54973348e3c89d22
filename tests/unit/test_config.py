import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import PRESETS, named_config, preset_names
from mpo_core import strict_yaml
from mpo_core.config import Config, deciding, load_config, save_config
from mpo_core.errors import InputError
from mpo_core.overrides import apply_override, quoted


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_named_like_its_file(name):
    assert named_config(name).name == name


PAPERS = ["scienceworld-llama3.1-8b", "alfworld-llama3.1-8b", "scienceworld-llama3.1-8b-2node"]


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_settings_are_the_papers(name):
    config = named_config(name)
    assert (config.planner.per_task, config.scoring.repetitions) == (5, 5)
    assert (config.planner.temperature, config.scoring.temperature) == (0.7, 0.7)
    assert (config.planner.example, config.agent.example) == (False, True)
    for training in (config.planner.sft, config.training):
        assert (training.method, training.zero_stage, training.epochs) == ("full", 3, 3)
        assert (training.learning_rate, training.batch_size) == (1e-5, 32)
        assert (training.scheduler, training.warmup_ratio) == ("cosine", 0.03)
    assert config.training.beta == 0.1 and config.seed == 42
    assert (config.agent.max_tokens, config.agent.invalid_limit) == (512, 10)
    assert config.evaluation.temperature == config.planner.evaluation_temperature == 0
    assert config.validation == 0 and config.pairs.rule == "best_worst"


@pytest.mark.parametrize("name", PAPERS[:2])
def test_the_lora_variant_differs_in_how_it_trains_alone(name):
    paper, variant = (deciding(named_config(one)) for one in (name, f"{name}-lora"))
    differ = {key for key in paper.keys() | variant.keys() if paper.get(key) != variant.get(key)}
    assert differ == {
        "planner.sft.method",
        "planner.sft.lora.rank",
        "planner.sft.lora.alpha",
        "planner.sft.learning_rate",
        "training.method",
        "training.lora.rank",
        "training.lora.alpha",
    }


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("evaluation.arms=[none, nonsense]", "unknown arm 'nonsense'"),
        ("evaluation.arms=[none, none]", "listed twice"),
        ("evaluation.plan_files={mpo: [plans.jsonl]}", "mpo is an arm already"),
        ("evaluation.plan_files={mpo-3: [plans.jsonl]}", "mpo-3 is an arm already"),
        ("evaluation.arms=[mpo-0]", "unknown arm 'mpo-0'"),
        ("evaluation.arms=[mpo, mpo-2]", "mpo-2: there are 1 rounds"),
        ("evaluation.plan_files={mine: [plans.jsonl]}", "no arm plays the plans of mine"),
    ],
)
def test_arms_are_known_ones_each_once(override, says):
    with pytest.raises(InputError, match=says):
        named_config("demo-llm", [override])


def test_an_arm_of_a_round_trains_the_planner():
    config = named_config("demo-llm", ["rounds=2", "evaluation.arms=[base, mpo-1, oracle, mpo-2]"])
    assert config.trains and config.planner_arms == ["base", "mpo-1", "mpo-2"]
    assert not named_config("demo-llm", ["evaluation.arms=[base, teacher]"]).trains


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["planner.temperature=0"], "planner.temperature"),
        (
            ["evaluation.arms=[teacher]", "seeds.teacher=smollm2", "seeds.temperature=0"],
            "seeds.temperature",
        ),
        (["evaluation.arms=[none]", "planner.temperature=0"], None),
        (["seeds.teacher=smollm2", "seeds.temperature=0"], None),
    ],
)
def test_samples_that_would_all_be_the_same_plan_are_refused(overrides, key):
    if key is None:
        assert named_config("demo-llm", ["evaluation.plan_samples=2", *overrides])
        return
    with pytest.raises(InputError, match=f"evaluation.plan_samples: at {key} 0 all samples are"):
        named_config("demo-llm", ["evaluation.plan_samples=2", *overrides])
    assert named_config("demo-llm", overrides)


def test_a_saved_config_is_the_config(tmp_path):
    config = named_config("demo-llm", ["seed=7"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_overrides_reach_every_depth():
    config = named_config(
        "demo-llm", ["name=x", "training.lora.rank=4", "envs.scienceworld.tasks.train=3"]
    )
    assert (config.name, config.training.lora.rank) == ("x", 4)
    assert config.envs["scienceworld"].tasks.train == 3


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainng.beta=0.1", "trainng: unknown key"),
        ("training.bet=0.1", "training.bet: unknown key"),
        ("envs.scienceworld.taks=1", "envs.*taks: unknown key"),
        ("envs.nethack={}", "envs.nethack: no such environment; installed: "),
        ("envs.nethack={}", "; `pip install` its package to have it"),
        ("envs.scienceworld.tasks.train=-1", "envs.scienceworld.tasks.train: .*0"),
        ("envs.scienceworld=5", "envs.scienceworld: expected settings below it"),
        ("seed=many", "seed: .*integer"),
        ("seed=-1", "seed: .*0"),
        ("training.seed=4294967296", "training.seed: .*4294967296"),
        ("evaluation.arms=[]", "evaluation.arms: .*at least 1"),
        ("evaluation.splits=[]", "evaluation.splits: .*at least 1"),
        ("seed=yes", "seed: expected a number, found true"),
        ("training.learning_rate=on", "learning_rate: expected a number, found true"),
        ("launch.slurm.hours=24:00:00", "launch.slurm.hours: .*number"),
        ("name=123", "name: expected a text .*in quotes.*found 123"),
        ("name=", "name: expected a text .*found nothing"),
        ("training=", "training: expected settings below it .*found nothing"),
        ("evaluation.arms=none,expert", "evaluation.arms: expected a list, .*found none,expert"),
        ("runs_dir=5", "runs_dir: expected a path, found 5"),
        ("training.zero_stage=4", "training.zero_stage: "),
        ("training.loss_type=sigmiod", "training.loss_type: .*'sigmoid'"),
        ("training.loss_type=sft", "training.loss_type: "),
        ("training.loss_type=exo_pair", "training: loss_type: exo_pair needs label_smoothing"),
        ("training.label_smoothing=0.1", "training: label_smoothing: sigmoid ignores it"),
        ("training.packing=true", "training.packing: unknown key"),
        ("planner.sft.batch_size=3", "planner.sft: batch_size 3 is not a multiple of workers 2"),
        ("training.batch_size=3", "training: batch_size 3 is not a multiple of workers 2"),
        ("planner.model=gpt", "planner.model: 'gpt' is not in models"),
        ("seeds.teacher=gpt", "seeds.teacher: 'gpt' is not in models"),
        ("seeds.price_per_million_prompt_tokens=-1", "seeds.price_per_million_prompt_tokens: "),
        ("models.smollm2.endpoint=http://x", "models.smollm2: give exactly one of source"),
        ("evaluation.arms=[sft]", "evaluation.arms: sft needs planner.sft"),
        ("evaluation.arms=[none,pg]", r"evaluation.arms: pg needs planner.pg \(such as `pg: {}`\)"),
        ("planner.pg={ratio_cap: 1}", "planner.pg.ratio_cap: .*greater than 1"),
        ("planner.rft.pick=worst", "planner.rft.pick: .*'best' or 'above_mean'"),
        ("scoring.shuffle=true", "scoring.shuffle: no arm evaluates the control planners"),
        ("scoring.shuffle=[2,2]", "scoring.shuffle: a seed is listed twice"),
        ("scoring.shuffle=[true]", "scoring.shuffle: expected seeds, found a switch"),
        ("scoring.shuffle=3", "scoring.shuffle: expected a list"),
        ("evaluation.arms=[none,shuffled]", "evaluation.arms: shuffled needs control planners"),
        ("planner.sft.method=full", "planner.sft.method and training.method differ"),
        ("planner.sft.lora.rank=4", "planner.sft.lora and training.lora differ"),
        ("planner.sft.packing=7", "planner.sft.packing: "),
        ("rounds=0", "rounds: "),
        ("validation=1", "validation: "),
        ("training.method=full", "planner.serve: adapter cannot hold full weights"),
        ("models.smollm2.max_lora_rank=1", r"lora\.rank \d+: more than models\.smollm2\.max_lora"),
        ("cluster.enabled=false", "cluster.enabled: false cannot serve models.smollm2"),
        ("name=../../etc", "name: "),
        ("seed", "an override is written dotted.key=value"),
        ("seed=[1", "the value is not YAML"),
        ("seed.x=1", "seed is a value, not a section"),
        ("agent.plan_mode=dream", "agent.plan_mode: "),
        ("training={beta: 1, beta: 2}", "not YAML: beta is given twice in one mapping"),
        ("models.qwen2.5-7b.endpiont=x", "models.qwen2.5-7b.endpiont: unknown key"),
        ('models."qwen.endpoint=x', "an override is written dotted.key=value"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(override, says):
    with pytest.raises(InputError, match=says) as caught:
        named_config("demo-llm", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["planner.pg", "planner.rft.training"])
def test_what_follows_sft_goes_on_with_what_sft_has_made(section):
    says = rf"planner\.sft\.method and {section}\.method differ"
    with pytest.raises(InputError, match=says):
        named_config("demo", [f"{section}={{method: full}}"])


@pytest.mark.parametrize(
    ("given", "seeds"), [("true", [0]), ("false", []), ("[2, 0]", [2, 0]), ("[]", [])]
)
def test_a_switch_for_controls_is_one_or_none(given, seeds):
    arms = "[none, mpo, shuffled]" if seeds else "[none, mpo]"
    config = named_config("demo-llm", [f"scoring.shuffle={given}", f"evaluation.arms={arms}"])
    assert config.scoring.shuffle == seeds


def test_a_teacher_that_nobody_serves_needs_an_endpoint():
    teacher = ["models.big={source: /models/big}", "seeds.teacher=big"]
    with pytest.raises(InputError, match=r"seeds\.teacher: models\.big is not served"):
        named_config("demo-llm", teacher)
    assert named_config("demo-llm", ["seeds.teacher=smollm2"]).seeds.teacher == "smollm2"


@given(st.text("ab 1:#[]{},&*!|>'\"%@`-~ü🙂", min_size=1))
def test_a_text_in_an_override_is_that_text(text):
    tree = {}
    apply_override(tree, f"tracking.experiment={quoted(text)}", Config)
    assert tree == {"tracking": {"experiment": text}}


def test_a_setting_changes_nothing_but_its_own_section(tmp_path):
    shared = "training: &same {workers: 2, batch_size: 4}\nplanner: {sft: *same}\n"
    tree = strict_yaml.load(shared)
    apply_override(tree, "training.workers=4", Config)
    assert tree["planner"]["sft"]["workers"] == 2


MODELS = {"qwen2": {}, "qwen2.5-7b": {}, "llm": {}}


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("seed=1", ["seed"]),
        ("models.qwen2.5-7b.endpoint=x", ["models", "qwen2.5-7b", "endpoint"]),
        ('models."qwen2.5-7b".endpoint=x', ["models", "qwen2.5-7b", "endpoint"]),
        ("models.'v1.0=b'.source=x", ["models", "v1.0=b", "source"]),
        ("models.qwen2.source=x", ["models", "qwen2", "source"]),
        ("models.qwen2.5-32b.source=x", ["models", "qwen2.5-32b", "source"]),
        ("models.qwen2.5-7b={source: x}", ["models", "qwen2.5-7b"]),
        ("models.gpt-4.1={endpoint: x}", ["models", "gpt-4.1"]),
        ("models.gpt-4.1.mini.endpoint=x", ["models", "gpt-4.1.mini", "endpoint"]),
        ("models.gpt-4.1.engine_kwargs.a.b=1", ["models", "gpt-4.1", "engine_kwargs", "a", "b"]),
        ("evaluation.plan_files.v1.5=[x]", ["evaluation", "plan_files", "v1.5"]),
        ("envs.alfworld.tasks.train=3", ["envs", "alfworld", "tasks", "train"]),
        ("planner.sft.lora.rank=4", ["planner", "sft", "lora", "rank"]),
    ],
)
def test_a_name_with_dots_is_found_where_it_ends(override, path):
    tree = {"models": {name: {} for name in MODELS}}
    apply_override(tree, override, Config)
    for name in path[:-1]:
        tree = tree[name]
    assert path[-1] in tree


names = st.text("abc.-_0123456789", min_size=1, max_size=12).filter(lambda name: name.strip("."))
fields = st.sampled_from(["source", "endpoint", "retries", "max_model_len"])


@given(st.sets(names, max_size=4), names, fields, st.booleans())
def test_a_models_setting_reaches_the_model_of_that_name_and_no_other(others, name, field, known):
    models = {other: {"scripted": "x"} for other in others | ({name} if known else set())}
    tree = {"models": {key: dict(value) for key, value in models.items()}}
    quoted = ".." in f".{name}."  # A name that starts or ends with a dot has to be quoted.
    apply_override(
        tree, f'models."{name}".{field}=1' if quoted else f"models.{name}.{field}=1", Config
    )
    models.setdefault(name, {})[field] = 1
    assert tree == {"models": models}


def test_presets_hold_no_secrets():
    for path in PRESETS.rglob("*.yaml"):
        text = str(yaml.safe_load(path.read_text())).lower()
        assert "api_key'" not in text and "token'" not in text


@pytest.mark.parametrize("name", ["123", "1e5", "on", "2026-01-01"])
@pytest.mark.parametrize("place", ["my #1", "a: b", "[ü🙂]", "010"])
def test_a_runs_folder_is_continued_whatever_its_path_looks_like(tmp_path, name, place):
    given = [f"name={quoted(name)}", f"runs_dir={quoted(str(tmp_path / place))}"]
    config = named_config("demo-llm", given)
    save_config(config, config.run_dir / "config.yaml")
    assert named_config(str(tmp_path / place / name)) == config


def test_a_runs_folder_is_continued_where_it_lies(tmp_path):
    folder = tmp_path / "elsewhere" / "mine"
    save_config(
        named_config("demo-llm", ["name=mine", "runs_dir=/gone/runs"]), folder / "config.yaml"
    )
    assert named_config(str(folder)).run_dir == folder
    assert named_config(str(folder), ["name=other"]).name == "other"


ENDPOINT = """
name: mine
envs: {alfworld: {}}
models: {llm: {endpoint: 'http://127.0.0.1:8000/v1'}}
planner: {model: llm}
agent: {model: llm}
cluster: {enabled: false}
"""


def at_endpoint(tmp_path, *overrides):
    path = tmp_path / "mine.yaml"
    path.write_text(ENDPOINT)
    return load_config(path, overrides)


def test_a_planner_at_an_endpoint_is_compared_without_being_trained(tmp_path):
    assert at_endpoint(tmp_path).evaluation.arms == ["none", "base"]
    with pytest.raises(InputError, match=r"evaluation\.arms: mpo trains the planner"):
        at_endpoint(tmp_path, "evaluation.arms=[none,mpo]")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("agent.max_step=3", r"agent\.max_step: unknown key \(did you mean max_steps\?\)"),
        ("models.llm.endpont=x", r"models\.llm\.endpont: unknown key \(did you mean endpoint\?\)"),
        ("agnet={}", r"agnet: unknown key \(did you mean agent\?\)"),
        ("models.llm.zzz=1", r"models\.llm\.zzz: unknown key$"),
        ("models.llm.api_key=sk-secret", "name its variable in api_key_env"),
        ("models.llm.api_key_env=sk-secret", "names an environment variable"),
    ],
)
def test_a_misspelt_key_is_met_with_what_may_have_been_meant(override, says, tmp_path):
    with pytest.raises(InputError, match=says) as raised:
        at_endpoint(tmp_path, override)
    assert "secret" not in str(raised.value)
