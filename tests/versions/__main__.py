"""What the installed versions lack of what the suite stands on, as JSON on the last line.

A process of its own: the libraries' imports change what they are imported into.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.versions import borrowed, configurations

with TemporaryDirectory() as folder:
    found = {
        "borrowed": list(borrowed.moved()),
        "configurations": list(configurations.faults(Path(folder))),
    }
print(json.dumps(found))
