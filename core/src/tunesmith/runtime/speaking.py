"""How much a run says: our own words by ``verbosity``, those of the libraries one step quieter."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

from tunesmith.plan import Plan

#: ``verbosity`` → how loud transformers may be.
LIBRARIES = {"debug": logging.INFO, "info": logging.WARNING, "warning": logging.WARNING, "error": logging.ERROR}


def speak(plan: Plan) -> None:
    """Set levels and handlers for this process; the first of a machine speaks, the others only warn."""
    verbosity = str(plan["verbosity"])
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    own = logging.getLogger("tunesmith")
    own.setLevel(verbosity.upper() if first else logging.WARNING)
    if not own.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        own.addHandler(handler)
    transformers_logging.set_verbosity(LIBRARIES.get(verbosity, logging.CRITICAL))
    if not (is_watched() and verbosity in LIBRARIES and verbosity != "error"):
        transformers_logging.disable_progress_bar()
    # peft still reads a name that transformers has renamed; users can do nothing about it.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    if plan["logging_dir"] and "TENSORBOARD_LOGGING_DIR" not in os.environ:
        os.environ["TENSORBOARD_LOGGING_DIR"] = plan["logging_dir"]


def is_watched() -> bool:
    """Whether standard error is a terminal that can draw bars."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def no_bars() -> Iterator[None]:
    """Within it, transformers draws no progress bars: one for each checkpoint is too many."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers_logging.enable_progress_bar()
