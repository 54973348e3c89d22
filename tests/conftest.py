import os
from pathlib import Path

import pytest
from hypothesis import settings

INTEGRATION = Path(__file__).parent / "integration"

# A loaded machine is slow, not wrong. Where nobody watches, every run tries the same examples.
settings.register_profile("suite", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    """Each folder of integration tests runs in one process, which starts what they share once."""
    for item in items:
        if item.path.is_relative_to(INTEGRATION):
            folder = item.path.relative_to(INTEGRATION).parts[0]
            item.add_marker(pytest.mark.xdist_group(folder))
