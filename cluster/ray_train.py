"""What the suite needs of Ray Train that its public interface does not offer.

This module, and it alone, stands on `ray.train.v2._internal`, which any release of Ray may move:
`tests/versions/borrowed.py` names what has been. It imports PyTorch, so it is imported late.
"""

from pathlib import Path

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME


class LeanTrainer(TorchTrainer):
    """Without two helper actors of Ray Train, each a process that imports for five seconds: one
    serves Ray datasets, which are not used here; one watches the controller through the dashboard,
    which a private cluster does not run. Nor with its handler of SIGINT, which stays when the
    training has ended: the next Ctrl-C would ask for a controller that is gone and end the process
    as if all was done.

    Needless when a trainer without datasets starts no actor for them, nor one without a dashboard
    for that, or when `RunConfig` says which of the callbacks are wanted; and when an interrupt of
    `fit` is raised, and the signal's own handler put back.
    """

    def _create_default_callbacks(self):
        needless = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [c for c in super()._create_default_callbacks() if not isinstance(c, needless)]

    def _register_sigint_handler(self, controller):
        """The interrupt is raised where `fit` waits; the controller ends with the driver."""


def forget_run(folder: Path) -> None:
    """Remove Ray Train's note of a run's checkpoints, from which it would go on.

    It is not written atomically: after a kill it may be torn, or name what is not there. Needless
    when `RunConfig` takes a run that begins anew in a folder with another's checkpoints.
    """
    (folder / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME).unlink(missing_ok=True)
