import pytest
import yaml

from jobs.configs import PRESETS, named_config, preset_names
from mpo_core.config import load_config, save_config
from mpo_core.errors import InputError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_named_like_its_file(name):
    assert named_config(name).name == name


def test_the_papers_settings_are_the_papers():
    config = named_config("scienceworld-llama3.1-8b")
    assert (config.planner.per_task, config.scoring.repetitions) == (5, 5)
    assert (config.planner.temperature, config.scoring.temperature) == (0.8, 0.8)
    training = config.training
    assert (training.learning_rate, training.batch_size, config.seed) == (1e-5, 32, 42)
    assert (training.workers, training.micro_batch_size) == (4, 2)
    assert (config.agent.max_tokens, config.agent.invalid_limit) == (512, 10)
    assert config.evaluation.temperature == 0


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("evaluation.arms=[none, nonsense]", "unknown arm 'nonsense'"),
        ("evaluation.arms=[none, none]", "listed twice"),
        ("evaluation.plan_files={mpo: [plans.jsonl]}", "mpo is an arm already"),
    ],
)
def test_arms_are_known_ones_each_once(override, says):
    with pytest.raises(InputError, match=says):
        named_config("demo", [override])


def test_a_saved_config_is_the_config(tmp_path):
    config = named_config("demo", ["seed=7"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_overrides_reach_every_depth():
    config = named_config(
        "demo", ["name=x", "training.lora.rank=4", "envs.scienceworld.tasks.train=3"]
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
        ("seed=many", "seed: .*integer"),
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
        ("planner.sft.method=full", "planner.sft.method and training.method differ"),
        ("planner.sft.lora.rank=4", "planner.sft.lora and training.lora differ"),
        ("planner.sft.packing=7", "planner.sft.packing: "),
        ("rounds=0", "rounds: "),
        ("validation=1", "validation: "),
        ("training.method=full", "planner.serve: adapter cannot hold full weights"),
        ("cluster.enabled=false", "cluster.enabled: false cannot serve models.smollm2"),
        ("name=../../etc", "name: "),
        ("seed", "an override is written dotted.key=value"),
        ("seed=[1", "the value is not YAML"),
        ("seed.x=1", "seed is a value, not a section"),
        ("agent.plan_mode=dream", "agent.plan_mode: "),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(override, says):
    with pytest.raises(InputError, match=says) as caught:
        named_config("demo", [override])
    assert "\n" not in str(caught.value)


def test_a_teacher_that_nobody_serves_needs_an_endpoint():
    teacher = ["models.big={source: /models/big}", "seeds.teacher=big"]
    with pytest.raises(InputError, match=r"seeds\.teacher: models\.big is not served"):
        named_config("demo", teacher)
    assert named_config("demo", ["seeds.teacher=smollm2"]).seeds.teacher == "smollm2"


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such config file"):
        named_config(str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match=r"neither a \.yaml file.*demo"):
        named_config("dmeo")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not readable as YAML"):
        named_config(str(tmp_path / "broken.yaml"))
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(InputError, match="expected a mapping"):
        named_config(str(tmp_path / "list.yaml"))


def test_yaml_is_loaded_safely(tmp_path):
    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="not readable as YAML"):
        named_config(str(tmp_path / "evil.yaml"))


def test_presets_hold_no_secrets():
    for path in PRESETS.glob("*.yaml"):
        text = str(yaml.safe_load(path.read_text())).lower()
        assert "api_key'" not in text and "token'" not in text


def test_a_runs_folder_is_continued_where_it_lies(tmp_path):
    folder = tmp_path / "elsewhere" / "mine"
    save_config(named_config("demo", ["name=mine", "runs_dir=/gone/runs"]), folder / "config.yaml")
    assert named_config(str(folder)).run_dir == folder
    assert named_config(str(folder), ["name=other"]).name == "other"
