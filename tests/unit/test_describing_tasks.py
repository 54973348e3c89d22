import asyncio

import pytest

from mpo_core.errors import EnvironmentLost, InputError
from mpo_core.planning import describe
from tests.fakes import ToyEnvironment, task


class Host:
    """Whose process does not start the first times."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)

    async def environment(self) -> ToyEnvironment:
        if self.faults:
            raise self.faults.pop(0)
        return ToyEnvironment()


def test_an_environment_killed_while_it_starts_is_started_again():
    [described] = asyncio.run(describe([task()], Host(EnvironmentLost("killed"))))
    assert described.description == "Open door 0."


@pytest.mark.parametrize("fault", [EnvironmentLost, InputError])
def test_one_that_never_starts_ends_with_its_reason(fault):
    with pytest.raises(fault, match="the reason"):
        asyncio.run(describe([task()], Host(*[fault("the reason")] * 3)))
