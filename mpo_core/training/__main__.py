"""Train outside of Ray: `torchrun --nproc-per-node 2 -m mpo_core.training JOB.json`.

JOB.json holds the fields of `TrainingJob`; `config` is, by the objective, the `training` (DPO), the
`sft` or the `pg` section of a config. Rows of progress are printed as JSON, a line each (see
`run.train`), and bad input as `{"error": ...}` too.
"""

import json
import sys
from pathlib import Path

from mpo_core.config import validated
from mpo_core.errors import InputError
from mpo_core.training.engine import leave
from mpo_core.training.run import Stopped, train
from mpo_core.training.settings import CONFIGS, TrainingJob, with_objective


def main(path: str) -> None:
    fields = with_objective(json.loads(Path(path).read_text(encoding="utf-8")))
    objective = fields.setdefault("objective", "dpo")
    if objective not in CONFIGS:
        raise InputError(f"{path}: unknown objective {objective!r}; known: {', '.join(CONFIGS)}")
    fields["config"] = validated(CONFIGS[objective], fields["config"], f"{path}: config")
    for name in {"rows", "out", "work", "start", "validation"} & fields.keys():
        fields[name] = Path(fields[name]) if fields[name] is not None else None
    train(TrainingJob(**fields), on_row=lambda row: print(json.dumps(row), flush=True))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except InputError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        print(error, file=sys.stderr)
        leave(2)
    except Stopped as stop:
        print(f"{stop}; the same command continues", file=sys.stderr)
        leave(130)
    leave(0)
