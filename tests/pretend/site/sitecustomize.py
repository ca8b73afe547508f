"""Python runs this as it starts where this folder is on its path: processes that tests start."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

import pretend

if why := pretend.begin():
    print(f"CUDA is not pretended here: {why}", file=sys.stderr)
