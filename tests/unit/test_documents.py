"""README and docs say what is there: pages, files, headings, commands, settings, names."""

import re
from urllib.parse import unquote, urlsplit

import pytest
import typer

import mpo_core
from jobs.cli import app
from jobs.configs import named_config, preset_names
from mpo_core.config import settings
from tests.commandline import ROOT
from tests.documents import (
    anchors,
    blocks,
    commands,
    in_line,
    links,
    mentioned,
    module,
    pages,
    quoted,
)

CONF = module("docs/conf.py")
CONFIGURATION = module("docs/reference/configuration.py")
DECLARED = CONFIGURATION.declared()
COMMANDS = dict(module("docs/reference/commands.py").commands())
API = module("docs/reference/api.py")
NAVIGATION = [f"{page}.md" for listed in CONF.PAGES.values() for page in listed]
LABELS = [["mpo", "sampled"]]
"""Planners whose names begin as a command does."""
GIVEN = re.compile(r"[a-z][\w]*(\.[\w-]+)*(?==)")
"""The key of `dotted.key=value`."""


def test_the_navigation_has_every_page_once():
    assert sorted({*NAVIGATION, "README.md"}) == sorted(pages())
    assert len(set(NAVIGATION)) == len(NAVIGATION)


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_files_and_headings_that_there_are(page):
    for link in links(page):
        address = urlsplit(link)
        if address.scheme:
            assert address.scheme in ("http", "https"), link
            continue
        there = (ROOT / page).parent / unquote(address.path) if address.path else ROOT / page
        assert there.is_file(), f"{page}: {link}"
        if address.fragment:
            assert address.fragment in anchors(str(there.resolve().relative_to(ROOT))), link


@pytest.mark.parametrize("page", pages())
def test_commands_that_are_shown_are_read_by_the_command_line(page):
    for words in commands(page):
        name, given = called(words)
        if name is None:
            continue
        with COMMANDS[name].make_context(name, given) as context:
            check_settings(context.params, words)


@pytest.mark.parametrize("page", pages())
def test_commands_that_are_mentioned_exist_with_their_options(page):
    for words in mentioned(page):
        if words in LABELS:
            continue
        name, given = called(words)
        if name is None:
            continue
        known = {option for one in COMMANDS[name].params for option in one.opts} | {"--help"}
        asked = {word.partition("=")[0] for word in given if word.startswith("--")}
        assert asked <= known, f"{page}: {' '.join(words)}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_commands_help_are_read_by_it(name):
    shown = [words for text in quoted(COMMANDS[name].epilog) for words in in_line(text)]
    assert shown
    for words in shown:
        inner, given = called(words)
        assert inner
        with COMMANDS[inner].make_context(inner, given) as context:
            check_settings(context.params, words)


def called(words: list[str]) -> tuple[str | None, list[str]]:
    """Which command is called, and with what; None for the whole and for placeholders."""
    for length in range(len(words), 1, -1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, words[length:]
    assert words[1].startswith("--") or words[1].isupper(), f"no such command: {' '.join(words)}"
    return None, []


def check_settings(given: dict, words: list[str]) -> None:
    """Presets and keys of a command's arguments are there, where they are no placeholders."""
    config = given.get("config")
    if config and re.fullmatch(r"[a-z][\w.-]*", config) and not config.endswith(".yaml"):
        assert config in preset_names(), " ".join(words)
    swept = [over for over in given.get("over") or () if "," in over or "=" in over]
    for setting in [*(given.get("overrides") or ()), *swept]:
        key = GIVEN.match(setting)
        if key and key[0] != "key":
            assert known(key[0]), f"{key[0]}: {' '.join(words)}"


def known(key: str) -> bool:
    """Whether a config may have this key, or a section or an entry of a mapping of that name."""
    return any(like(key, one.key, one.kind.startswith("mapping")) for one in DECLARED)


def like(key: str, declared: str, mapping: bool = False) -> bool:
    ours, theirs = key.split("."), declared.split(".")
    alike = all(their in (our, "NAME") for our, their in zip(ours, theirs, strict=False))
    return alike and (mapping or len(ours) <= len(theirs))


@pytest.mark.parametrize("preset", preset_names())
def test_the_reference_has_every_setting_of_a_config(preset):
    patterns = {
        (re.compile(re.escape(one.key).replace("NAME", r"[\w-]+")), one.bearing): one
        for one in DECLARED
    }
    for setting in settings(named_config(preset)):
        if setting.value == {} and setting.key == "envs":
            continue  # A section without an entry, as with callers' feedback.
        key = re.sub(r"^(envs\.\w+\.split_files|\S+_kwargs|\S+\.options)\..*", r"\1", setting.key)
        found = [pattern for pattern, _ in patterns if pattern.fullmatch(key)]
        assert len(found) == 1, key


def test_the_reference_says_a_settings_type_default_meaning_and_bearing():
    rows = {one.key: one for one in DECLARED}
    assert rows["planner.per_task"].kind == "whole number above 0"
    assert rows["planner.per_task"].default == "`5`"
    assert rows["planner.per_task"].meaning.startswith("Plans sampled for each training task")
    assert rows["planner.per_task"].bearing == "decides results"
    assert rows["evaluation.plan_samples"].bearing == "adds to results"
    assert rows["planner.sft.learning_rate"].default == "`0.0001`"
    assert rows["training.seed"].kind == "whole number at least 0 and below 4,294,967,296 or null"
    assert rows["planner.model"].default == "must be given"
    assert rows["envs.alfworld.generated.train"].bearing == "decides results"
    text = CONFIGURATION.markdown()
    assert all(f"| `{one.name}` | {one.default} |" in text for one in rows.values())
    assert all(f"\n### {preset}\n" in text for preset in preset_names())


def test_every_setting_says_what_it_means():
    assert [one.key for one in DECLARED if not one.meaning] == []


def test_the_reference_has_every_command():
    names = {one.name or one.callback.__name__ for one in app.registered_commands}
    groups = {group.name for group in app.registered_groups if group.name}
    found = typer.main.get_command(app).commands
    assert names | groups <= set(found)
    assert {name.split()[1] for name in COMMANDS} == set(found)
    text = module("docs/reference/commands.py").markdown()
    assert all(f"\n### {name}\n" in text for name in COMMANDS)


def test_the_reference_has_every_name_of_the_library():
    shown = [name for names in API.parts().values() for name in names]
    sections = {name for name in mpo_core.__all__ if name.endswith("Config")}
    assert sorted(shown) == sorted({*mpo_core.__all__} - sections - {"EXPERT"})


@pytest.mark.parametrize("page", ["docs/reference/configuration", "docs/reference/commands"])
def test_a_page_that_is_filled_in_says_how_to_see_it_whole(page):
    assert "make docs" in (ROOT / f"{page}.md").read_text("utf-8")
    assert CONF.filler(page) and not CONF.filler("docs/tutorial")


def test_the_tutorials_runs_have_settings_that_are_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [words[2:] for words in commands("docs/tutorial.md") if words[1] == "run"]
    names = [named_config(config, overrides).name for config, *overrides in runs]
    assert names == ["demo", "again"]
    assert len(blocks("docs/tutorial.md", "sh")) > len(runs)


@pytest.mark.parametrize(
    ("key", "declared", "same"),
    [
        ("models.my-model.source", "models.NAME.source", True),
        ("models.my-model.sauce", "models.NAME.source", False),
        ("planner.sft", "planner.sft.epochs", True),
        ("planner.stf.epochs", "planner.sft.epochs", False),
        ("seed.of", "seed", False),
    ],
)
def test_a_key_is_known_by_what_it_is_declared_as(key, declared, same):
    assert like(key, declared) is same


def test_no_link_leads_to_the_machine_it_was_written_on():
    leaving = ("/", "file:")
    assert [page for page in pages() for link in links(page) if link.startswith(leaving)] == []
