"""Training of the planner: one path for every method, in one process, under torchrun or Ray Train.

`run.train` does what all methods share: processes, DeepSpeed, checkpoints, progress, the saved
planner. A method is one module that turns rows into a TRL trainer (`sft.py`, `dpo.py`, `pg.py`).

Invariants:
- The engine is DeepSpeed's, or nothing is trained.
- A checkpoint folder that holds `COMPLETE` is whole; any other is deleted and never resumed from.
- The output folder appears under its name only when the planner in it is whole.
"""
