"""`python -m jobs.pipeline CONFIG [key=value ...]` is `mpo run` of the same arguments."""

import sys

from jobs.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
