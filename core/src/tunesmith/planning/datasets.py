"""The datasets of a run: found, and matched with what the stage wants, before a row is read."""

from __future__ import annotations

from tunesmith.planning.choose import choose_named
from tunesmith.planning.draft import Draft
