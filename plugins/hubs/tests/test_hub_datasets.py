"""Datasets of hubs and stores, by the real libraries from real servers on this machine."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.plan import DatasetPlan, Plan
from tunesmith_hubs import datasets
from tunesmith_hubs.datasets import HubRows

A, B = "a" * 40, "b" * 40
NAME = "acme/dialogues"
KEYS = {
    "hf_hub_url": datasets.HuggingFaceRows,
    "ms_hub_url": datasets.ModelScopeRows,
    "cloud_file_name": datasets.ObjectStoreRows,
}


def source(entry: dict[str, Any], version: str = "", **values: Any) -> HubRows:
    settings = {key: Setting(value, "run.yaml:1", "host", given=True) for key, value in values.items()}
    make = next(KEYS[key] for key in KEYS if key in entry)
    return make(DatasetPlan("mine", "train", "", "", "conversation", entry, ".", version=version), Plan("data", settings))


def texts(found: HubRows) -> list[str]:
    return [row["text"] for _, row in found.rows()]


def lines(*words: str) -> str:
    return "".join(json.dumps({"text": word}) + "\n" for word in words)


def parquet(*words: str) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"text": list(words)}), out)
    return out.getvalue()


@pytest.fixture
def dialogues(world: Any) -> Any:
    for name in (f"datasets/{NAME}",):
        world.add(name, {"train.jsonl": lines("one", "two"), "test.jsonl": lines("three"), "README.md": "# Dialogues\n"}, A)
    return world


# ---- Hugging Face ----------------------------------------------------------------------------------------------------


def test_rows_come_with_the_file_of_the_repository_that_they_are_in(dialogues: Any) -> None:
    found = source({"hf_hub_url": NAME})
    assert list(found.rows()) == [(f"{NAME}@{A[:12]}/train.jsonl:{n}", {"text": t}) for n, t in ((1, "one"), (2, "two"))]
    assert found.version() == A
    assert texts(source({"hf_hub_url": NAME, "split": "test"})) == ["three"]
    assert texts(source({"hf_hub_url": NAME, "split": "train+test"})) == ["one", "two", "three"]


def test_a_branch_is_what_it_is_now_and_a_commit_what_it_was(dialogues: Any) -> None:
    assert texts(source({"hf_hub_url": NAME})) == ["one", "two"]
    dialogues.add(f"datasets/{NAME}", {"train.jsonl": lines("new")}, B)
    assert texts(source({"hf_hub_url": NAME})) == ["new"]
    assert source({"hf_hub_url": NAME}).version() == B
    assert texts(source({"hf_hub_url": NAME, "revision": A})) == ["one", "two"]
    assert texts(source({"hf_hub_url": NAME}, version=A)) == ["one", "two"]


def test_a_commit_that_is_here_needs_no_hub(dialogues: Any) -> None:
    assert texts(source({"hf_hub_url": NAME, "revision": A})) == ["one", "two"]
    dialogues.asked.clear()
    assert texts(source({"hf_hub_url": NAME, "revision": A})) == ["one", "two"]
    assert dialogues.asked == []


def test_each_file_is_fetched_when_its_rows_are_asked_for(world: Any) -> None:
    shards = {f"data/train-0000{n}-of-00002.parquet": parquet(f"row {n}") for n in range(2)}
    world.add(f"datasets/{NAME}", shards)
    rows = source({"hf_hub_url": NAME}).rows()
    assert next(rows)[1]["text"] == "row 0"
    assert not any("train-00001" in asked for asked in world.asked)
    assert [row["text"] for _, row in rows] == ["row 1"]


def test_an_interrupted_download_goes_on_where_it_stopped(world: Any) -> None:
    big = lines(*("x" * 1000 for _ in range(30_000)))
    world.add(f"datasets/{NAME}", {"train.jsonl": big})
    world.cut["train.jsonl"] = 20_000_000
    assert len(texts(source({"hf_hub_url": NAME}))) == 30_000
    assert any(asked.startswith("bytes=") and asked != "bytes=0-" for asked in world.ranges)


@pytest.mark.parametrize(
    ("entry", "repo", "what", "hint"),
    [
        ({"hf_hub_url": "acme/none"}, {}, "has no acme/none, or it is private", "hf_hub_token"),
        ({"hf_hub_url": NAME, "revision": "v9"}, {}, "no revision 'v9'", "branch, tag or commit"),
        ({"hf_hub_url": NAME}, {"token": "secret"}, "or it is private", "hf_hub_token"),
        ({"hf_hub_url": NAME}, {"token": "secret", "gated": True}, "is gated", "Accept its terms"),
        ({"ms_hub_url": "acme/none"}, {}, "ModelScope has no acme/none", "ms_hub_token"),
        ({"ms_hub_url": NAME}, {"token": "secret"}, "ModelScope refuses acme/dialogues", "ms_hub_token"),
    ],
)
def test_refusals_are_told_in_plain_words(
    world: Any, entry: dict[str, Any], repo: dict[str, Any], what: str, hint: str
) -> None:
    world.add(f"datasets/{NAME}", {"train.jsonl": lines("one")}, A, **repo)
    with pytest.raises(TunesmithError) as raised:
        source(entry).version()
    assert what in raised.value.message
    assert raised.value.message.startswith("mine: ")
    assert hint in raised.value.hint
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["hf_hub_url", "ms_hub_url"])
def test_a_token_opens_a_private_repository(world: Any, key: str) -> None:
    world.add(f"datasets/{NAME}", {"train.jsonl": lines("one")}, A, token="secret")
    assert texts(source({key: NAME}, hf_hub_token="secret", ms_hub_token="secret")) == ["one"]


def test_no_connection_is_said(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TunesmithError, match=r"could not be fetched: .*[Cc]onnect"):
        source({"hf_hub_url": NAME}).version()


# ---- without the hub -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["hf_hub_url", "ms_hub_url"])
def test_offline_what_is_here_is_read_and_what_is_not_is_named(dialogues: Any, offline: Callable[[], None], key: str) -> None:
    assert texts(source({key: NAME})) == ["one", "two"]
    offline()
    dialogues.asked.clear()
    assert texts(source({key: NAME})) == ["one", "two"]
    with pytest.raises(TunesmithError, match=r"test.jsonl of acme/dialogues at \w+ .* is not in the cache"):
        texts(source({key: NAME, "split": "test"}))
    with pytest.raises(TunesmithError, match=r"acme/other at .* is not in the cache, and hubs are switched off"):
        source({key: "acme/other"}).version()
    assert dialogues.asked == []


# ---- ModelScope ------------------------------------------------------------------------------------------------------


def test_modelscope_versions_do_not_mix(dialogues: Any) -> None:
    first = source({"ms_hub_url": NAME})
    assert texts(first) == ["one", "two"]
    dialogues.add(f"datasets/{NAME}", {"train.jsonl": lines("new")}, B)
    second = source({"ms_hub_url": NAME})
    assert texts(second) == ["new"]
    assert first.version() != second.version()
    assert texts(source({"ms_hub_url": NAME}, version=first.version())) == ["one", "two"]  # it is here


def test_a_version_that_modelscope_has_no_more_is_not_replaced_in_silence(dialogues: Any) -> None:
    with pytest.raises(TunesmithError, match="has changed since"):
        source({"ms_hub_url": NAME}, version="c" * 40).files()


# ---- object stores ---------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("s3fs", reason="the package that fsspec reaches s3:// with is not installed")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for key, value in {"ANON": "true", "ENDPOINT_URL": world.url}.items():
        monkeypatch.setenv(f"FSSPEC_S3_{key}", value)
    import fsspec.config

    monkeypatch.setattr(fsspec.config, "conf", {"s3": {"anon": True, "endpoint_url": world.url}})
    world.buckets |= {"rows/a.jsonl": lines("one").encode(), "rows/b.jsonl": lines("two").encode(), "mixed/a.csv": b"text\nx\n"}
    world.buckets |= {"mixed/b.jsonl": lines("three").encode()}
    return world


def test_a_folder_and_a_file_of_a_bucket(s3: Any) -> None:
    assert texts(source({"cloud_file_name": "s3://bucket/rows"})) == ["one", "two"]
    found = source({"cloud_file_name": "s3://bucket/mixed/a.csv"})
    assert list(found.rows()) == [(f"s3://bucket/mixed/a.csv@{found.version()[:12]}/a.csv:2", {"text": "x"})]


def test_a_bucket_that_changed_is_another_version(s3: Any) -> None:
    first = source({"cloud_file_name": "s3://bucket/rows"})
    assert texts(first) == ["one", "two"]
    s3.buckets["rows/b.jsonl"] = lines("changed").encode()
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    second = source({"cloud_file_name": "s3://bucket/rows"})
    assert texts(second) == ["one", "changed"]
    assert first.version() != second.version()


def test_a_file_behind_an_address(world: Any) -> None:
    pytest.importorskip("aiohttp", reason="the package that fsspec reaches https:// with is not installed")
    world.buckets["rows/a.jsonl"] = lines("one").encode()
    first = source({"cloud_file_name": f"{world.url}/bucket/rows/a.jsonl"})
    assert texts(first) == ["one"]
    world.buckets["rows/a.jsonl"] = lines("two").encode()
    second = source({"cloud_file_name": f"{world.url}/bucket/rows/a.jsonl"})
    assert texts(second) == ["two"]
    with pytest.raises(TunesmithError, match="There is nothing at"):
        source({"cloud_file_name": f"{world.url}/bucket/none.jsonl"}).version()


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("s3://bucket/none", "There is nothing at s3://bucket/none"),
        ("s3://bucket/mixed", "several types: mixed|several types: a.csv, b.jsonl"),
        ("file:///etc/passwd", "in no store that is known"),
        ("zip://a::s3://bucket/rows/a.jsonl", "in no store that is known"),
    ],
)
def test_what_a_store_does_not_have_is_said(s3: Any, address: str, what: str) -> None:
    with pytest.raises(TunesmithError, match=what):
        texts(source({"cloud_file_name": address}))
