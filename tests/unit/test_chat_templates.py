"""What a config asks of a model's chat template, told before anything starts."""

import json
from pathlib import Path

import pytest
import yaml

from jobs import cli
from jobs.doctor import _models
from jobs.run import Run
from mpo_core.chat_templates import template_fault
from mpo_core.config import load_config
from mpo_core.errors import InputError
from tests.small_run import write_config
from tests.tiny_chat import WEIGHTS

CHATML = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHATML
)
ENDS_WITH_USER = (
    "{% if messages[-1]['role'] != 'user' %}{{ raise_exception('ask first') }}{% endif %}" + CHATML
)
ONE_TURN = "{% if messages|length > 1 %}{{ raise_exception('one turn') }}{% endif %}" + CHATML
THINKS = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
SWITCHED = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is not defined %}<think>\n{% endif %}{% endif %}",
)


def make_model(folder: Path, template: str | None, file: str = "tokenizer_config.json") -> Path:
    """A model's folder without weights to speak of."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "tokenizer.json").write_text("{}")
    settings = {"eos_token": {"content": "</s>"}, "bos_token": "<s>"}
    if template and file == "tokenizer_config.json":
        settings["chat_template"] = template
    elif template:
        (folder / file).write_text(template)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def config_with(folder: Path, source: Path | str, *changes: str, **sections):
    models = {"tiny": {"source": str(source)}}
    planner, agent = {"model": "tiny", "per_task": 2}, {"model": "tiny"}
    file = write_config(folder, models=models, planner=planner, agent=agent, **sections)
    return load_config(file, changes)


def fault(config, source: Path | str, prompts=()) -> str | None:
    asked = prompts or [[{"role": "user", "content": "task"}]]
    return template_fault(config, "tiny", source, asked)


TRAINED = "evaluation.arms=[none, mpo]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "changes", "says"),
    [
        (CHATML, [], None),
        (CHATML, [TRAINED, "agent.thoughts=false", "agent.plan_mode=thought"], None),
        (ALTERNATING, [TRAINED, "agent.thoughts=false"], None),
        (
            None,
            [],
            "models.tiny: the model has no chat template, as base models have none; take its "
            "instruct version, or give it a template (models.tiny.engine_kwargs.chat_template=FILE",
        ),
        (ENDS_WITH_USER, [], None),
        (ENDS_WITH_USER, ["agent.thoughts=false"], "refuses to continue an answer (ask first)"),
        (ENDS_WITH_USER, ["agent.plan_mode=thought"], "refuses to continue an answer (ask first)"),
        (ONE_TURN, [], "refuses a conversation of user, assistant, user (one turn)"),
        (THINKS, [], None),
        (THINKS, [TRAINED], "give it a template that begins no thought"),
        (SWITCHED, [TRAINED], "switch its thoughts off (models.tiny.reasoning=off)"),
        (SWITCHED, [TRAINED, "models.tiny.reasoning=off"], None),
        (
            SWITCHED,
            [TRAINED, "models.tiny.extra_body.chat_template_kwargs={enable_thinking: false}"],
            None,
        ),
        (
            SWITCHED,
            [TRAINED, "models.tiny.engine_kwargs.default_chat_template_kwargs.enable_thinking=no"],
            None,
        ),
        # An agent that acts without a word is not asked within a thought, as a planner is.
        (THINKS, ["agent.sft={}", "agent.thoughts=false"], None),
        ("{% if %}", [], "its chat template is no Jinja template (Expected an expression"),
        (None, ["models.tiny.engine_kwargs.chat_template=/no/such.jinja"], "/no/such.jinja: not"),
    ],
)
def test_what_a_template_cannot_do_is_one_line(tmp_path, template, changes, says):
    model = make_model(tmp_path / "model", template)
    found = fault(config_with(tmp_path, model, *changes), model)
    if says is None:
        assert found is None
    else:
        assert says in found
        assert "\n" not in found


@pytest.mark.slow
def test_a_template_that_refuses_a_system_message_is_refused_only_where_one_is_sent(tmp_path):
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    model = make_model(tmp_path / "model", template + CHATML)
    config = config_with(tmp_path, model)
    assert fault(config, model) is None
    prompt = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "task"}]
    assert "refuses a system message (none); put its text" in fault(config, model, [prompt])


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_template_is_found_in_any_of_its_files(tmp_path, file):
    model = make_model(tmp_path / "model", CHATML, file)
    assert fault(config_with(tmp_path, model), model) is None


def test_a_model_that_has_several_templates_is_asked_by_its_default(tmp_path):
    model = make_model(tmp_path / "model", None)
    several = [{"name": n, "template": t} for n, t in (("tool_use", ONE_TURN), ("default", CHATML))]
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert fault(config_with(tmp_path, model), model) is None


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("chat_template.jinja", b"\xff{{ x }}", "chat_template.jinja: not readable as UTF-8"),
        ("chat_template.jinja", b"", "the model has no chat template"),
        ("chat_template.jinja", b" \n", "its chat template drops what the user says"),
        ("chat_template.json", b"{", "chat_template.json: not JSON"),
        ("chat_template.json", b"\xe4", "chat_template.json: not readable as UTF-8"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json: not JSON settings"),
        ("tokenizer_config.json", b'{"chat_template": 5}', "the model has no chat template"),
        ("tokenizer_config.json", b'{"chat_template": [1, {"nom": "x"}]}', "no chat template"),
        ("tokenizer_config.json", b'{"chat_template": {"tool_use": "x"}}', "no chat template"),
    ],
)
def test_files_that_hold_no_template_are_one_line(tmp_path, file, content, says):
    model = make_model(tmp_path / "model", None)
    (model / file).write_bytes(content)
    found = fault(config_with(tmp_path, model), model)
    assert found and says in found and "\n" not in found


def test_a_base_model_that_is_given_a_template_can_be_asked(tmp_path):
    model = make_model(tmp_path / "model", None)
    (tmp_path / "chat.jinja").write_text(CHATML)
    given = f"models.tiny.engine_kwargs.chat_template={tmp_path / 'chat.jinja'}"
    assert fault(config_with(tmp_path, model, given, TRAINED), model) is None


def test_nothing_is_said_of_what_is_not_here(tmp_path):
    assert fault(config_with(tmp_path, "org/not-downloaded"), "org/not-downloaded") is None
    model = make_model(tmp_path / "model", None)
    (model / "tokenizer_config.json").unlink()
    assert fault(config_with(tmp_path, model), model) is None


@pytest.mark.slow
def test_doctor_dry_run_and_stages_say_the_same_line(tmp_path, capsys):
    model = make_model(tmp_path / "model", None)
    config = config_with(tmp_path, model)
    [check] = _models(config)
    assert check.status == "fault"
    with pytest.raises(InputError) as caught:
        Run(config)
    assert str(caught.value) == check.found
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(tmp_path / "small.yaml"), "--dry-run"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"mpo: error: {check.found}"
    assert not config.run_dir.exists()
    assert yaml.safe_load((tmp_path / "small.yaml").read_text())["name"] == "small"
