"""Who imports whom: jobs -> cluster -> mpo_core, and nowhere in a circle."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("mpo_core", "cluster", "jobs")
"""Each may import those before it."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST = 400


@cache
def modules() -> dict[str, Path]:
    """Name -> file."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
    }


def statements(tree: ast.AST, *, in_functions: bool) -> list[ast.AST]:
    found = [tree]
    for node in ast.iter_child_nodes(tree):
        if in_functions or not isinstance(node, FUNCTIONS):
            found += statements(node, in_functions=in_functions)
    return found


def imported(tree: ast.AST, *, in_functions: bool = True) -> set[str]:
    """The modules that a file imports, of whatever package, for the type checker too."""
    names = set()
    for node in statements(tree, in_functions=in_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports name the whole path of a module"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules() else node.module for name in inner}
    return names


@cache
def graph(*, in_functions: bool = True) -> dict[str, set[str]]:
    """Module -> those of this suite that it imports, inside of functions too."""
    return {
        name: imported(ast.parse(path.read_text(encoding="utf-8")), in_functions=in_functions)
        & modules().keys()
        for name, path in modules().items()
    }


def reached(start: str, of: dict[str, set[str]]) -> set[str]:
    """What importing a module imports, by whatever way."""
    found, ahead = {start}, [start]
    while ahead:
        more = of[ahead.pop()] - found
        found |= more
        ahead += more
    return found


def room(module: str) -> int:
    return ROOMS.index(module.partition(".")[0])


@pytest.mark.slow
def test_imports_go_from_jobs_to_cluster_to_mpo_core_alone():
    upwards = {(a, b) for a, others in graph().items() for b in others if room(b) > room(a)}
    assert upwards == set()


@pytest.mark.slow
def test_modules_import_each_other_in_no_circle_also_inside_of_functions():
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_circle_would_be_seen():
    source = "def late():\n    from jobs.cli import main\n    from mpo_core import strict_yaml\n"
    assert imported(ast.parse(source)) == {"jobs.cli", "mpo_core.strict_yaml"}
    assert imported(ast.parse(source), in_functions=False) == set()


@pytest.mark.slow
def test_the_pipeline_does_not_import_the_command_line_nor_that_the_pipeline_at_its_start():
    assert not {name for name in reached("jobs.pipeline", graph()) if "cli" in name.split(".")}
    of_commands = {name for name in modules() if name.startswith("jobs.commands")}
    assert of_commands and not of_commands & reached("jobs.pipeline", graph())
    assert "jobs.pipeline" not in reached("jobs.cli", graph(in_functions=False))
    assert "jobs.pipeline" in reached("jobs.cli", graph())


@pytest.mark.slow
def test_the_library_needs_neither_ray_nor_vllm():
    for name, path in modules().items():
        if room(name) == 0:
            names = imported(ast.parse(path.read_text(encoding="utf-8")))
            assert not {"ray", "vllm"} & {found.partition(".")[0] for found in names}, name


def test_stages_load_nothing_of_what_the_stages_before_them_give():
    """What goes from stage to stage is values, which the command line loads where it runs one
    alone. The end of the loop alone looks at what the whole run has left."""
    alone = {"jobs.trainings", "jobs.commands.stages", "jobs.export"}
    at_the_end = {"jobs.evaluate": {"load_plan_scores"}, "jobs.tally": {"load_plans"}}
    loaders = {"load_tasks", "load_plans", "load_plan_scores", "load_pairs", "load_seeds"}
    defined = set()
    for name, path in modules().items():
        if not name.startswith("jobs."):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined |= loaders & {node.name for node in tree.body if isinstance(node, FUNCTIONS)}
        brought = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if name not in alone:
            assert loaders & brought == at_the_end.get(name, set()), name
    assert defined == loaders


def test_a_file_can_be_read_at_one_sitting():
    files = [*modules().values(), *(ROOT / "tests").rglob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    longer = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST}
    assert longer == {}
