"""A planner that is not shown the room: the sandbox's, with a tokenizer that leaves the list out.

python docs/sandbox/roomless.py FOLDER
mpo run sandbox name=roomless models.planner.source=FOLDER
"""

import argparse
import shutil
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers

from mpo_core.builtin_models import SHIPPED
from mpo_core.sandbox.planner_vocabulary import ASKED


def main(folder: Path) -> None:
    shutil.copytree(SHIPPED["sandbox-planner"], folder)
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    # What is left of the room: the highest number of each kind of place.
    listed = normalizers.Replace(Regex(rf"{ASKED}[^.]*\."), ASKED)
    tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, listed])
    tokenizer.save(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the planner's; new")
    main(parser.parse_args().folder)
