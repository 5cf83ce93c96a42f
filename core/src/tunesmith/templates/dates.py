"""Dates as templates print them, in the template's own words: the machine's clock and language have no say."""

from __future__ import annotations

import re
from datetime import date

from tunesmith.templates.model import DateRule

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def printed(rule: DateRule | None, day: str | None) -> str:
    """The day (ISO; the rule's default when ``None``) in the rule's format, a subset of strftime's codes."""
    if rule is None:
        return ""
    moment = date.fromisoformat(day or rule.default)
    weekday = (rule.weekdays or _WEEKDAYS)[moment.weekday()]
    month = (rule.months or _MONTHS)[moment.month - 1]
    codes = {
        "Y": f"{moment.year:04}", "m": f"{moment.month:02}", "d": f"{moment.day:02}", "-d": str(moment.day),
        "-m": str(moment.month), "B": month, "b": month[:3], "A": weekday, "a": weekday[:3], "%": "%",
        "H": "12", "M": "00", "S": "00",
    }  # fmt: skip
    return re.sub(r"%(-?[A-Za-z%])", lambda code: codes[code[1]], rule.format)
