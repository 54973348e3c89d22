"""A learned agent for six types of ScienceWorld task, of the make of the sandbox's other one.

- `games.py`: the tasks in plain Python, with what the agent reads of the engine's answers.
- `plans.py`: what plans say, the best, poor ones and those that are learned from.
- `follower.py`: the scripted agent that does what a plan says.
- `vocabulary.py`: the tokenizer; `agent.py`: what is learned from, and the agent at play.
- `gate.py`: what it must be able to do in the real engine; `python -m` this package makes one.
"""
