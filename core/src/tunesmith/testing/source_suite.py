"""The suite for sources: rows come as they were written, each with its place, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tunesmith import SourceSpec
from tunesmith.contracts import Source
from tunesmith.data.dataset_info import ENTRY_KEYS, source_files
from tunesmith.errors import TunesmithError
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.spec import options_of
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import KEY, load, option_faults, spec_faults

#: An entry of ``dataset_info.json``.
Entry = Mapping[str, Any]


class SourceSuite:
    """That a source reads the rows that are there, says where each comes from, and says what is wrong in words.

    Set ``spec`` and the ``rows`` that must be read, and write them in :meth:`entry`, which returns the entry that names them::

        class TestTable(SourceSuite):
            spec = TABLE
            rows = ({"ask": "Hello?"}, {"ask": "And then?"})

            def entry(self, folder):
                write_table(folder / "mine.db", self.rows)
                return {"table_file": "mine.db"}

            def absent(self, folder):
                return {"table_file": "nobody.db"}

            def malformed(self, folder):
                (folder / "torn.db").write_bytes(b"no table")
                yield {"table_file": "torn.db"}, "torn.db"

    Give at least two rows. Keys of the source's own options go into ``options``.
    """

    spec: ClassVar[SourceSpec]
    rows: ClassVar[Sequence[Mapping[str, Any]]] = ()
    options: ClassVar[tuple[object, ...]] = ()
    keys: ClassVar[Mapping[str, Any]] = {}

    # -- what is under test --------------------------------------------------------------------------------------------

    def entry(self, folder: Path) -> Entry:
        """Write ``rows`` to where the source finds them, and return the entry of a ``dataset_info.json`` in ``folder``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its rows are written: write entry(self, folder)")

    def absent(self, folder: Path) -> Entry:
        """An entry whose rows are not there."""
        raise NotImplementedError(f"{type(self).__name__} names no rows that are not there: write absent(self, folder)")

    def malformed(self, folder: Path) -> Iterator[tuple[Entry, str]]:
        """Entries that must be refused, each with what the message has to name."""
        return iter(())

    @property
    def plan(self) -> Plan:
        """A plan with the options of the suite."""
        return hand_plan(*self.options, picked={"sources": self.spec.name}, **self.keys)

    def dataset(self, entry: Entry, folder: Path) -> DatasetPlan:
        """What planning makes of an entry."""
        plain = DatasetPlan("mine", "train", self.spec.name, "any", "conversation", entry, str(folder))
        return replace(plain, files=tuple(map(str, source_files(self.spec, plain))))

    def source(self, entry: Entry, folder: Path, *, version: str = "") -> Source:
        """A new source, as a run makes it."""
        made: Source = load(self.spec)(replace(self.dataset(entry, folder), version=version), self.plan)
        return made

    def refused(self, entry: Entry, folder: Path) -> TunesmithError:
        """The error with which an entry is refused: while planning, when the source is made, or when it is read."""
        with pytest.raises(TunesmithError) as caught:
            list(self.source(entry, folder).rows())
        return caught.value

    # -- the spec ------------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, options are a frozen dataclass, and its key is one that an entry can have."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        if not KEY.fullmatch(self.spec.key):
            faults.append(f"its key {self.spec.key!r} is not written in small letters, digits and underscores")
        if self.spec.key in ENTRY_KEYS:
            faults.append(f"its key {self.spec.key!r} means something else in every entry")
        assert not faults, "\n".join(faults)

    def test_the_entry_names_the_source(self, tmp_path: Path) -> None:
        """By the key that the spec says; so a run finds it."""
        assert self.entry(tmp_path).get(self.spec.key)

    # -- rows that are there -------------------------------------------------------------------------------------------

    def test_rows_are_read_as_they_were_written(self, tmp_path: Path) -> None:
        """All of them, in order, with the same columns and values."""
        assert len(self.rows) > 1, "give at least two rows"
        assert [dict(row) for _, row in self.source(self.entry(tmp_path), tmp_path).rows()] == [dict(row) for row in self.rows]

    def test_each_row_has_a_place_of_its_own(self, tmp_path: Path) -> None:
        """Words that a user can find it by, none twice."""
        places = [place for place, _ in self.source(self.entry(tmp_path), tmp_path).rows()]
        assert all(isinstance(place, str) and place.strip() for place in places), places
        assert len(set(places)) == len(places), places

    def test_it_reads_as_often_as_it_is_asked(self, tmp_path: Path) -> None:
        """Two readers at once, and a second source, get the same rows and places: epochs and processes read again."""
        entry = self.entry(tmp_path)
        source = self.source(entry, tmp_path)
        turns = list(zip_longest(source.rows(), source.rows()))
        assert all(one == other for one, other in turns), "two readers disturb each other"
        assert list(self.source(entry, tmp_path).rows()) == [one for one, _ in turns]

    def test_rows_are_read_one_at_a_time(self, tmp_path: Path) -> None:
        """``rows`` returns an iterator, so that data may be larger than memory."""
        assert isinstance(self.source(self.entry(tmp_path), tmp_path).rows(), Iterator)

    def test_its_files_are_there(self, tmp_path: Path) -> None:
        """Those it tells, for fingerprints, are those that planning lists, and exist."""
        entry = self.entry(tmp_path)
        told = [Path(file) for file in self.source(entry, tmp_path).files()]
        assert all(file.is_file() for file in told), told
        if self.spec.files:
            assert told == [Path(file) for file in self.dataset(entry, tmp_path).files]

    def test_a_version_is_told_once_and_kept(self, tmp_path: Path) -> None:
        """Whoever reads at the version that was told reads the same rows, and tells the same version."""
        entry = self.entry(tmp_path)
        first = self.source(entry, tmp_path)
        version = first.version()
        assert isinstance(version, str)
        again = self.source(entry, tmp_path, version=version)
        assert again.version() == version
        assert list(again.rows()) == list(first.rows())

    # -- rows that are not ---------------------------------------------------------------------------------------------

    def test_rows_that_are_not_there_are_named(self, tmp_path: Path) -> None:
        """The message holds what the entry names."""
        entry = self.absent(tmp_path)
        assert str(entry[self.spec.key]) in self.refused(entry, tmp_path).message

    def test_what_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        """Each entry of :meth:`malformed` is refused with a message that holds what it says."""
        for entry, named in self.malformed(tmp_path):
            assert named in self.refused(entry, tmp_path).message
