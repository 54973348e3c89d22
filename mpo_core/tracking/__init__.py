"""MLflow: what a run logs waits in its folder, and is sent from there by one thread.

    tracker.py    what is logged, for the run that is open
    known.py      what is logged already            pace.py, system.py   curves over time
    queue.py      the entries on disk               sender.py            the thread that sends them
    delivery.py   an entry carried out in MLflow    traces.py, registry.py   those of some size
    store.py      where the store is                faults.py            what goes wrong with it
    assets.py     datasets, planners                about.py             command, commit, user
    reports.py    reports fetched back

The run's folder is the truth: a store that is away, slow or hangs stops no run and slows none.
"""

from mpo_core.tracking.assets import Dataset, PlannerVersion
from mpo_core.tracking.tracker import Kind, MlflowTracker, NoTracker, Tracker

__all__ = ["Dataset", "Kind", "MlflowTracker", "NoTracker", "PlannerVersion", "Tracker"]
