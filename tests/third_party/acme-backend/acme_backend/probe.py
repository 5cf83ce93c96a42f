import os

from tunesmith.contracts import Probe
from tunesmith.testing.emulator import why_not

CARDS = 2
MEMORY = 2**31


def cards():
    """How many of them this process may see."""
    visible = os.environ.get("ACME_VISIBLE_DEVICES")
    return CARDS if visible is None else len([number for number in visible.split(",") if number.strip()])


def probe():
    reason = why_not() or ("" if cards() else "ACME_VISIBLE_DEVICES hides every card")
    return Probe(not reason, reason, 0 if reason else cards(), MEMORY, {"emulated": True})
