"""The tables that ship with the core as CSV files."""

from __future__ import annotations

import csv
from importlib import resources


def read_table(file: str) -> list[dict[str, str]]:
    """The rows of a table, each as column → text."""
    text = resources.files("tunesmith").joinpath(file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
