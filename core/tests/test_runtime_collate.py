"""Batches: what is learned, how padding and packing change nothing, and that documents never see each other."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from tunesmith.data.conversation import Tokens
from tunesmith.errors import TunesmithError
from tunesmith.runtime.collate import Collator, learned, positions
from tunesmith.runtime.isolation import check_isolation, measure_leak
from tunesmith.runtime.token_loss import token_loss
from tunesmith.testing.small_run import pack, small_rows
from tunesmith.testing.tiny_models import tiny_llama


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama(vocab_size=512)


def loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The loss over a batch, summed and divided by what there was to learn."""
    inputs = {key: value for key, value in batch.items() if key not in ("labels", "loss_weights")}
    with torch.no_grad():
        logits = model(**inputs).logits
    return token_loss(logits, batch["labels"], batch.get("loss_weights"), learned(batch))


def test_only_what_has_weight_is_a_label() -> None:
    rows = [{"tokens": Tokens([5, 6, 7], [0.0, 1.0, 1.0])}, {"tokens": Tokens([8], [1.0])}]
    batch = Collator(pad=0, multiple=4)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100], [-100] * 4]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert "loss_weights" not in batch
    assert learned(batch) == 2


def test_weights_between_travel_along() -> None:
    batch = Collator(pad=0, multiple=1)([{"tokens": Tokens([5, 6, 7], [0.0, 0.5, 2.0])}])
    assert batch["loss_weights"].tolist() == [[0.0, 0.5, 2.0]]
    assert learned(batch) == 2.5


def test_positions_start_again_with_each_document() -> None:
    assert positions(6, [0, 2, 5]).tolist() == [0, 1, 0, 1, 2, 0]


def test_a_pack_has_positions_and_no_mask() -> None:
    rows = [{"tokens": Tokens([5, 6, 7, 8, 9], [1.0] * 5), "starts": [0, 3]}]
    batch = Collator(pad=0, packed=True)(rows)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9, -100, -100, -100]]
    assert batch["use_cache"] is False
    assert "attention_mask" not in batch


def test_packed_and_unpacked_rows_have_one_loss(model: Any) -> None:
    rows = small_rows(8)
    plain = loss(model, Collator(pad=0)(rows))
    packed = loss(model, Collator(pad=0, packed=True)(pack(rows, 3)))
    assert packed == pytest.approx(float(plain), abs=1e-6)


def test_the_side_of_the_padding_does_not_matter(model: Any) -> None:
    rows = small_rows(8)
    right, left = (loss(model, Collator(pad=0, side=side)(rows)) for side in ("right", "left"))
    assert left == pytest.approx(float(right), abs=1e-5)


def test_weights_scale_the_loss_of_their_tokens(model: Any) -> None:
    ids = np.arange(5, 15)
    parts = [np.array([0.0] + [float(i // 5 == half) for i in range(1, 10)], np.float32) for half in (0, 1)]
    first, second = (loss(model, Collator(pad=0)([{"tokens": Tokens(ids, part)}])) for part in parts)
    mixed = loss(model, Collator(pad=0)([{"tokens": Tokens(ids, 0.5 * parts[0] + 2.0 * parts[1])}]))
    expected = (0.5 * 4 * first + 2.0 * 5 * second) / (0.5 * 4 + 2.0 * 5)
    assert mixed == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("rows", [1, 2])
def test_documents_do_not_see_each_other(model: Any, kernel: str, rows: int) -> None:
    model.set_attn_implementation(kernel)
    assert measure_leak(model, nullcontext(), rows) < 1e-6
    assert check_isolation(model, nullcontext(), rows)


def test_packs_that_were_joined_into_one_row_have_the_same_loss(model: Any) -> None:
    packs = pack(small_rows(8), 3)
    batches = [Collator(pad=0, packed=True, joined=joined)(packs) for joined in (False, True)]
    assert batches[1]["input_ids"].shape[0] == 1
    assert loss(model, batches[1]) == pytest.approx(float(loss(model, batches[0])), abs=1e-6)


def test_packs_are_joined_where_the_kernel_isolates_one_row_only(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.runtime.isolation.measure_leak", lambda model, autocast, rows: 0.5 * (rows > 1))
    assert check_isolation(model, nullcontext(), 1)
    assert not check_isolation(model, nullcontext(), 2)


def test_a_model_that_cannot_isolate_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda position_ids: None)
    with pytest.raises(TunesmithError, match="lets packed documents see each other") as caught:
        check_isolation(model, nullcontext())
    assert "packing: false" in caught.value.hint
