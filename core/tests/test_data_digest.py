"""The few lines that a run says about its data."""

from __future__ import annotations

from tunesmith.data.digest import digest
from tunesmith.data.report import BadRowReport, Report, SourceReport, ViewReport


def test_whole_data_takes_a_line_for_each_dataset() -> None:
    source = SourceReport("a", "train", rows_in=3, kept=3, tokens=1200, tokens_learned=400, length={"p50": 390, "longest": 420})
    text = digest(Report((source,), (ViewReport("train", 3, 3, 1200),)))
    assert text == ("data a (train): 3 of 3 rows, 1,200 tokens, 400 of them learned; median length 390, longest 420")


def test_everything_that_was_lost_is_said() -> None:
    bad = BadRowReport("a.jsonl:2", "output", "is empty")
    source = SourceReport(
        "a", "train", rows_in=9, kept=5, dropped={"bad row": 4}, bad_rows=(bad,), truncated=2, tokens_lost=70, duplicates=1
    )
    text = digest(Report((source,), notes=("shuffled",)))
    for words in (
        "5 of 9 rows",
        "dropped 4: bad row",
        "a.jsonl:2: output: is empty",
        "70 tokens lost",
        "duplicates 1",
        "shuffled",
    ):
        assert words in text


def test_packs_say_how_full_they_are() -> None:
    assert "in 2 packs, 93% full" in digest(Report(views=(ViewReport("train", 2, 8, 100, 0.93),)))
