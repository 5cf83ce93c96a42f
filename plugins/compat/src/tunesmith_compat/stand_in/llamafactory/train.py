"""``python -m llamafactory.train RUN.yaml``, also behind ``torchrun``: a run of Tunesmith."""

from __future__ import annotations

import sys

from tunesmith.train import without_local_rank
from tunesmith_compat.program import main

if __name__ == "__main__":
    sys.exit(main(["train", *without_local_rank(sys.argv[1:])]))
