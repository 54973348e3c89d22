"""Conversations as people save them, turn by turn, and files of such."""

import json

ASKED, GOOD, BAD = "Plan: boil water.", "Step 1: Heat it.", "Step 1: Drink it."


def user(text=ASKED):
    return {"role": "user", "content": text}


def assistant(text=GOOD):
    return {"role": "assistant", "content": text}


def system(text="Be brief."):
    return {"role": "system", "content": text}


def human(text=ASKED):
    return {"from": "human", "value": text}


def gpt(text=GOOD):
    return {"from": "gpt", "value": text}


PAIR = {"prompt": [user()], "chosen": [assistant()], "rejected": [assistant(BAD)]}


SHOWN = {"prompt": [user()], "completion": [assistant()]}


def written(folder, *rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
