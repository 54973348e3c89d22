import os

import pytest
from hypothesis import settings

from tests.scopes import LONGEST, scope_of
from tests.thoroughness import QUICK

# More threads than one only get into each other's way with models as small as the tests'.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor do the tests' Java processes live long enough to be worth compiling well.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

# A loaded machine is slow, not wrong. Where nobody watches, every run tries the same examples.
settings.register_profile("suite", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.register_profile("quick", settings.get_profile("suite"), max_examples=QUICK, database=None)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long scopes begin first, so that two processes end at about the same time."""

    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scopes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False  # It would go by the number of tests.
    return Scopes(config, log)
