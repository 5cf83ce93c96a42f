"""``tunesmith train`` as a module, for launchers of others: ``torchrun --nproc_per_node 2 -m tunesmith.train run.yaml``.

Also for ``accelerate launch -m tunesmith.train run.yaml``, and whatever else starts a module once for each device.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import click

from tunesmith.accelerate_launch import parent_words, words_meant
from tunesmith.cli.main import main as tunesmith
from tunesmith.cli.main import show_error
from tunesmith.errors import TunesmithError

#: What some launchers add for each process; the environment says the same.
LOCAL_RANK = re.compile(r"--local[-_]rank(=\d+)?")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with the words of the command line, less those that a launcher has added, and what it has not passed on."""
    words = without_local_rank(list(sys.argv[1:] if arguments is None else arguments))
    try:
        meant, said = words_meant(os.environ, parent_words(), words)
    except TunesmithError as error:
        show_error(error)
        return 2
    for line in said:
        click.echo(line, err=True)
    return tunesmith(["train", *words, *meant])


def without_local_rank(words: Sequence[str]) -> list[str]:
    """The words without ``--local_rank=N`` or ``--local_rank N``."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if not LOCAL_RANK.fullmatch(word):
            kept.append(word)
        elif "=" not in word:
            next(rest, None)
    return kept


if __name__ == "__main__":
    sys.exit(main())
