"""The sandbox: learned models so small that the whole method runs on a laptop in minutes.

- `games.py`: the generated ALFWorld games; `simulator.py` plays them in plain Python, word for word
  as the engine does.
- `plans.py`: what plans say; `wording.py` writes them in many words, `prose.py` as people write,
  `reading.py` reads them.
- `knowledge.py`: the best plans there are; `faults.py` spoils them, `repairs.py` mends one fault.
- `follower.py`: the scripted agent that does what a plan says; `measure.py`: what plans are worth.
- `vocabulary.py`: the tokenizer of the learned agent; `llama.py` its model, `folder.py` its files.
- `rows.py`: the dialogues it learns from; `train.py` trains it, `agent.py` plays it, `gate.py` says
  whether it heeds plans.
- `planner.py`: the planner before it learns from `teacher.py`; `planner_vocabulary.py` its words.
- `scienceworld/`: such an agent for six types of ScienceWorld task.
- `models/`: the agent and the planner as they come with the suite.
"""
