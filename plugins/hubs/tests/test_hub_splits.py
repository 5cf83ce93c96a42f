"""Which files are which split: the library datasets is asked the same question."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith.errors import TunesmithError
from tunesmith_hubs.splits import Wanted, choose_files

TREES = {
    "sharded": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/valid-00000-of-00001.parquet"],
    "odd split": ["data/en-00000-of-00001.parquet", "data/fr-00000-of-00001-aabb.parquet"],
    "file names": ["train.jsonl", "dev.jsonl", "test.jsonl"],
    "words within": ["my-train_v2.csv", "my-eval.csv", "contest.csv"],
    "digits": ["train1.json", "train2.json", "testing-0.json"],
    "folders": ["train/a.jsonl", "train/b.jsonl", "evaluation/c.jsonl"],
    "folders before files": ["train/test.jsonl", "val/train.jsonl"],
    "deep": ["en/train/a.csv", "en/testing set/b.csv"],
    "neither": ["rows.jsonl", "more/rows.jsonl"],
    "hidden": [".git/train.jsonl", "__MACOSX/train.jsonl", "b.jsonl", "README.md", "dataset_infos.json"],
}


@pytest.mark.parametrize("tree", TREES.values(), ids=list(TREES))
def test_the_library_datasets_says_the_same(tree: list[str], tmp_path: Path) -> None:
    from datasets.data_files import DataFilesDict, get_data_patterns

    for path in tree:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    theirs = DataFilesDict.from_patterns(get_data_patterns(str(tmp_path)), base_path=str(tmp_path))
    for split, files in theirs.items():
        expected = sorted(str(Path(file).relative_to(tmp_path)) for file in files)
        assert sorted(choose_files(tree, "", Wanted(split=str(split)))) == expected
    with pytest.raises(TunesmithError, match="There is no split 'none'") as raised:
        choose_files(tree, "", Wanted(split="none"))
    assert all(str(split) in raised.value.hint for split in theirs)


CARD = """---
license: mit
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: ["part/*.parquet", "extra.parquet"]
  - split: held
    path: held/**/*.parquet
- config_name: plain
  data_files: "*.jsonl"
- config_name: placed
  data_dir: placed
- config_name: both
  data_dir: part
  data_files: {test: a.parquet}
---
# About
"""
FILES = [
    "part/a.parquet",
    "part/b.parquet",
    "extra.parquet",
    "held/x/y.parquet",
    "one.jsonl",
    "placed/test.csv",
    "placed/train.csv",
]


@pytest.mark.parametrize(
    ("wanted", "files"),
    [
        (Wanted(), ["part/a.parquet", "part/b.parquet", "extra.parquet"]),
        (Wanted(split="held"), ["held/x/y.parquet"]),
        (Wanted("plain"), ["one.jsonl"]),
        (Wanted("placed"), ["placed/train.csv"]),
        (Wanted("placed", "train + test"), ["placed/train.csv", "placed/test.csv"]),
        (Wanted("both", "test"), ["part/a.parquet"]),
        (Wanted(folder="placed"), ["placed/train.csv"]),
        (Wanted(folder="one.jsonl"), ["one.jsonl"]),
        (Wanted(folder="part/*.parquet"), ["part/a.parquet", "part/b.parquet"]),
    ],
)
def test_the_card_and_the_entry_name_files(wanted: Wanted, files: list[str]) -> None:
    assert choose_files(FILES, CARD, wanted) == files


@pytest.mark.parametrize(
    ("wanted", "what", "hint"),
    [
        (Wanted("mian"), "no subset 'mian'", "main"),
        (Wanted(split="hold"), "no split 'hold'", "held"),
        (Wanted(folder="plaecd"), "no folder plaecd", "placed"),
        (Wanted(folder="x*"), "No file is called like", "pattern"),
        (Wanted("main", folder="part"), "subset and folder", "Keep one"),
        (Wanted(folder="*"), "several types", "folder"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(wanted: Wanted, what: str, hint: str) -> None:
    with pytest.raises(TunesmithError) as raised:
        choose_files(FILES, CARD, wanted)
    assert what in raised.value.message
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("files", "card", "wanted", "what"),
    [
        (["acme.py", "raw.zip"], "", Wanted(), "loading script, and code that comes with data is not run"),
        (["a.zip"], "", Wanted(), r"only \.zip"),
        ([], "", Wanted(), "only nothing"),
        (["en/a.csv"], "", Wanted("en"), "declares no subsets"),
        (["a.csv"], CARD.replace("default: true", "default: false"), Wanted(), "several subsets and no default"),
        (["a.csv"], "---\nconfigs: [\n---\n", Wanted(), "no YAML"),
    ],
)
def test_a_repository_that_cannot_be_read_says_why(files: list[str], card: str, wanted: Wanted, what: str) -> None:
    with pytest.raises(TunesmithError, match=what):
        choose_files(files, card, wanted)


def test_a_slice_is_refused() -> None:
    with pytest.raises(TunesmithError, match="is a slice"):
        Wanted.of({"split": "train[:10]"})
