"""The suite for dataset formats."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tunesmith import FormatSpec
from tunesmith.contracts import BadRow, Format
from tunesmith.data.conversation import EXAMPLE_KINDS, Example, Prompt
from tunesmith.testing.spec_check import load, spec_faults

#: A kind of example, a row, and what the row must be read as.
Case = tuple[str, Mapping[str, Any], Example]
#: Values that no column of text, messages or verdicts can have.
EMPTY: tuple[Any, ...] = (None, "", [])
WRONG = 7.5


class FormatSuite:
    """That a format reads rows as it should, refuses bad ones by their column, and leaves them as they were.

    Set ``spec``, and ``cases`` with at least one row for each kind that the spec says it yields; the first row of a kind has
    to have the required columns and no others that could take their place::

        class TestPairs(FormatSuite):
            spec = PAIRS
            cases = (("conversation", {"ask": "2 + 2?", "say": "4"}, Conversation((user("2 + 2?"), assistant("4")))),)
            bad = (("conversation", {"ask": "2 + 2?", "say": ["4"]}, "say"),)

    ``columns`` and ``tags`` are names as an entry of ``dataset_info.json`` would give them, ``bad`` rows that have to be
    refused with the column that is to be named.
    """

    spec: ClassVar[FormatSpec]
    cases: ClassVar[tuple[Case, ...]] = ()
    columns: ClassVar[Mapping[str, str | None]] = {}
    tags: ClassVar[Mapping[str, str]] = {}
    bad: ClassVar[tuple[tuple[str, Mapping[str, Any], str], ...]] = ()

    # -- what is under test --------------------------------------------------------------------------------------------

    @property
    def names(self) -> dict[str, str | None]:
        """The columns' names, defaults filled in."""
        return {**self.spec.columns, **self.columns}

    def format(self, **columns: str | None) -> Format:
        """A new format, as a run makes it; ``columns`` are names beyond those of the suite."""
        made: Format = load(self.spec)({**self.names, **columns}, {**self.spec.tags, **self.tags})
        return made

    def required(self) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        """For each kind its first row, with the name of each column that the row must have."""
        for kind in self.spec.yields:
            row = next(row for name, row, _ in self.cases if name == kind)
            for column in self.spec.required.get(kind, ()):
                yield kind, row, str(self.names[column])

    def refused(self, kind: str, row: Mapping[str, Any]) -> BadRow:
        """The :class:`~tunesmith.contracts.BadRow` that reading ``row`` raises."""
        with pytest.raises(BadRow) as caught:
            self.format().read(row, kind)
        return caught.value

    # -- the spec ------------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line; kinds are known; required columns are among the columns."""
        faults = list(spec_faults(self.spec))
        faults += [f"yields {kind!r}, which is no kind of example" for kind in self.spec.yields if kind not in EXAMPLE_KINDS]
        faults += [
            f"requires columns for {kind!r}, which it does not yield"
            for kind in set(self.spec.required) - set(self.spec.yields)
        ]
        needed = {column for columns in self.spec.required.values() for column in columns}
        faults += [f"requires {column!r}, which is none of its columns" for column in sorted(needed - set(self.spec.columns))]
        assert not faults, "\n".join(faults)

    def test_there_is_a_case_for_each_kind(self) -> None:
        """Whatever the spec says it yields is tried."""
        assert {kind for kind, _, _ in self.cases} == set(self.spec.yields)

    # -- good rows -----------------------------------------------------------------------------------------------------

    def test_rows_are_read_as_expected(self) -> None:
        """Every case gives the example that it says, of the type that its kind names."""
        for kind, row, expected in self.cases:
            found = self.format().read(row, kind)
            assert isinstance(found, EXAMPLE_KINDS[kind])
            assert found == expected, f"{kind}: {row}"

    def test_reading_leaves_the_row_as_it_was(self) -> None:
        """The same row read twice by one format gives the same, and is not changed."""
        for kind, row, _ in self.cases:
            format, before = self.format(), copy.deepcopy(row)
            assert format.read(row, kind) == format.read(row, kind)
            assert row == before

    def test_columns_may_have_other_names(self) -> None:
        """With every column called something else, in the entry and in the rows, the examples stay the same."""
        others = {column: f"other {name}" if name else None for column, name in self.names.items()}
        called = {name: f"other {name}" for name in self.names.values() if name}
        for kind, row, expected in self.cases:
            renamed = {called.get(name, name): value for name, value in row.items()}
            found = self.format(**others).read(renamed, kind)
            if isinstance(found, Prompt) and isinstance(expected, Prompt):
                found, expected = replace(found, extras={}), replace(expected, extras={})
            assert found == expected, f"{kind}: {renamed}"

    # -- bad rows ------------------------------------------------------------------------------------------------------

    def test_a_missing_column_is_named(self) -> None:
        """A row without a required column is refused, and the column is named."""
        for kind, row, column in self.required():
            without = {name: value for name, value in row.items() if name != column}
            assert self.refused(kind, without).column == column

    def test_an_empty_column_is_named(self) -> None:
        """So is a row in which it is null, empty text or an empty list."""
        for kind, row, column in self.required():
            for value in EMPTY:
                assert _names(self.refused(kind, {**row, column: value}), column), f"{kind}: {column} is {value!r}"

    def test_a_column_of_the_wrong_type_is_named(self) -> None:
        """So is a row in which it is a number."""
        for kind, row, column in self.required():
            assert _names(self.refused(kind, {**row, column: WRONG}), column)

    def test_bad_rows_are_refused(self) -> None:
        """The rows in ``bad`` are refused as they say, with a reason in words."""
        for kind, row, column in self.bad:
            refused = self.refused(kind, row)
            assert _names(refused, column), f"{row}: {refused.column!r} is named where {column!r} is expected"
            assert refused.reason.strip()


def _names(refused: BadRow, column: str) -> bool:
    """Whether the column is named, or a place within it (``messages[2]``)."""
    return (refused.column or "").partition("[")[0] == column
