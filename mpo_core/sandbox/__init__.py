"""The sandbox: learned models so small that the whole method runs on a laptop in minutes.

`games.py` plays the generated ALFWorld games in plain Python, word for word as the engine does;
`plans.py` and `wording.py` are the language of plans, `reading.py` its reader, and `faults.py` what
can be wrong with a plan; `follower.py` does what a plan says; `knowledge.py` writes the best plans
that there are; `measure.py` says what plans are worth.
"""
