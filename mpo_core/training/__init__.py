"""Training of the planner: one path for all objectives, in one process, by torchrun or Ray Train.

`run.train` does what all objectives share: processes, DeepSpeed, checkpoints, progress, the saved
planner. An objective is a module that turns rows into a TRL trainer (`sft.py`, `dpo.py`, `pg.py`).

Invariants:
- The engine is DeepSpeed's, or nothing is trained.
- A checkpoint folder that holds `COMPLETE` is whole; any other is deleted and never resumed from.
- The output folder appears under its name only when the planner in it is whole.
"""
