import os

from hypothesis import settings

# A loaded machine is slow, not wrong. Where nobody watches, every run tries the same examples.
settings.register_profile("suite", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("suite")
