"""A reward for answers that are JSON of the wanted form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonschema import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from tunesmith.contracts import Reward
from tunesmith.data.conversation import Conversation, Turn
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

from tunesmith_reward_functions.options import SchemaOptions

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL)
#: For JSON that the schema does not allow: closer than no JSON at all.
PARSED = 0.5


class Schema(Reward):
    """1 for JSON that the schema allows, 0.5 for other JSON, 0 for anything else. A Markdown fence around it does no harm."""

    def __init__(self, plan: Plan) -> None:
        options = plan.options(SchemaOptions)
        self.column, self.file = options.reward_json_schema_column, options.reward_json_schema
        self.one = validator(Path(self.file).expanduser().read_text(encoding="utf-8"), self.file) if self.file else None

    def score(
        self, prompts: Sequence[Conversation], completions: Sequence[Turn], extras: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """One score per completion.

        :raises TunesmithError: a schema is missing, or is none.
        """
        return [self._of(turn.text, row) for turn, row in zip(completions, extras, strict=True)]

    def _of(self, answer: str, row: Mapping[str, Any]) -> float:
        judge = self.one or self._of_row(row)
        fenced = _FENCED.fullmatch(answer)
        try:
            value = json.loads(fenced[1] if fenced else answer)
        except (ValueError, RecursionError):
            return 0.0
        try:
            return 1.0 if judge.is_valid(value) else PARSED
        except Unresolvable as error:
            hint = "Schemas are not fetched: put what it refers to under $defs."
            raise TunesmithError(f"The JSON Schema refers to {error.ref}, which is not in it.", hint) from error

    def _of_row(self, row: Mapping[str, Any]) -> Validator:
        found = row.get(self.column)
        if found is None:
            hint = "Write reward_json_schema: FILE or reward_json_schema_column: COLUMN"
            raise TunesmithError(f"A row has no column {self.column} with a JSON Schema.", hint)
        return validator(found, f"the column {self.column}")


def validator(schema: Any, place: str) -> Validator:
    """Judge of JSON by a schema, given as text or as what it says; nothing is fetched.

    :raises TunesmithError: it is no JSON Schema.
    """
    try:
        plain = json.loads(schema) if isinstance(schema, str) else schema
        kind = validator_for(plain)
        kind.check_schema(plain)
    except (ValueError, TypeError, SchemaError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TunesmithError(f"{place} holds no JSON Schema: {reason}", "See https://json-schema.org.") from error
    made: Validator = kind(plain, registry=Registry())
    return made
