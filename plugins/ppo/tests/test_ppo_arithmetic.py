"""The arithmetic by hand: advantages, returns, the clipped objective, the weight of the divergence, the order of prompts."""

from __future__ import annotations

import pytest
import torch
from tunesmith_ppo.adapting import DivergenceWeight, ScoreMoments
from tunesmith_ppo.advantages import estimate, token_rewards, whiten
from tunesmith_ppo.experience import batch_of, row_of
from tunesmith_ppo.objective import losses_of
from tunesmith_ppo.options import PpoOptions
from tunesmith_ppo.order import BufferSampler
from tunesmith_ppo.reading import Said


def alone(table: torch.Tensor) -> torch.Tensor:
    return table


def close(found: torch.Tensor, wanted: list[object]) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_the_score_comes_at_the_last_token_and_divergence_costs_at_every_one() -> None:
    divergence = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 0.0]])
    rewards = token_rewards(torch.tensor([10.0, 20.0]), divergence, torch.tensor([3, 1]), 0.1)
    close(rewards, [[-0.1, 0.2, 9.95], [19.7, 0.0, 0.0]])


def test_advantages_and_returns_by_hand() -> None:
    """δ = r + γV' − V = (0.3, −0.08, 2.2) and (1.5), each carried on with γλ = 0.72."""
    rewards = torch.tensor([[-0.1, 0.2, 3.0], [2.0, 0.0, 0.0]])
    values = torch.tensor([[0.5, 1.0, 0.8], [0.5, 0.0, 0.0]])
    second = 0.2 + 0.9 * 0.8 - 1.0 + 0.72 * 2.2
    first = -0.1 + 0.9 * 1.0 - 0.5 + 0.72 * second
    advantages = estimate(rewards, values, 0.9, 0.8)
    close(advantages, [[first, second, 2.2], [1.5, 0.0, 0.0]])
    close(advantages + values, [[first + 0.5, second + 1.0, 3.0], [2.0, 0.0, 0.0]])


def test_without_discount_or_bootstrap_returns_are_what_is_still_to_come() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.3, -0.2, 0.9]])
    close(estimate(rewards, values, 1.0, 1.0) + values, [[6.0, 5.0, 3.0]])


def test_whitening_leaves_padding_out() -> None:
    table, mask = torch.tensor([[1.0, 3.0], [5.0, 99.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    close(whiten(table, mask, alone), [[-1.0, 0.0], [1.0, 0.0]])
    close(whiten(table, mask, alone, centre=False), [[2.0, 3.0], [4.0, 0.0]])


def test_the_clipped_objective_by_hand() -> None:
    """Ratios 2, 0.5, 2, 0.5 and a clip of 0.2: the worse of free and clipped counts."""
    then = {
        "logprobs": torch.zeros(4),
        "values": torch.tensor([0.0, 0.0, 1.0, 1.0]),
        "advantages": torch.tensor([1.0, 1.0, -1.0, -1.0]),
        "returns": torch.tensor([1.0, 1.0, 1.0, 0.0]),
    }
    ratios = torch.tensor([2.0, 0.5, 2.0, 0.5])
    said = Said(ratios.log(), torch.zeros(4), torch.tensor([0.1, 0.9, 1.0, 1.5]))
    found = losses_of(said, then, PpoOptions())
    close(found.policy, [-1.2, -0.5, 2.0, 0.8])
    close(found.clipped, [1.0, 0.0, 0.0, 1.0])
    close(found.value, [0.405, 0.32, 0.0, 1.125])
    torch.testing.assert_close(found.moved, ratios - 1 - ratios.log())


def test_the_weight_of_the_divergence_follows_its_target() -> None:
    weight = DivergenceWeight(0.2, target=6.0, horizon=100.0)
    weight.see(6.0, 10)
    assert weight.value == pytest.approx(0.2)
    weight.see(6.6, 10)
    assert weight.value == pytest.approx(0.2 * (1 + 0.1 * 10 / 100))
    weight.see(600.0, 10)
    assert weight.value == pytest.approx(0.2 * 1.01 * 1.02)
    weight.see(0.0, 10)
    assert weight.value == pytest.approx(0.2 * 1.01 * 1.02 * 0.98)


def test_moments_of_scores_do_not_depend_on_how_they_come() -> None:
    scores = torch.randn(20, generator=torch.Generator().manual_seed(0)) * 3 + 5
    whole, parts = ScoreMoments(), ScoreMoments()
    whole.see(scores, alone)
    for part in scores.split([3, 10, 7]):
        parts.see(part, alone)
    assert parts.mean == pytest.approx(float(scores.mean()), abs=1e-5)
    assert parts.variance == pytest.approx(whole.variance)
    torch.testing.assert_close(parts.normalised(scores), (scores - scores.mean()) / scores.std())


def test_a_buffer_is_repeated_and_the_last_one_is_filled_up() -> None:
    order = BufferSampler(5, 2, 3, seed=0, shuffle=False)
    assert list(order) == [0, 1] * 3 + [2, 3] * 3 + [4, 0] * 3
    assert len(order) == len(list(order))
    mixed = BufferSampler(5, 2, 3, seed=0, shuffle=True)
    first, again = list(mixed), list(mixed)
    mixed.set_epoch(1)
    assert first == again != list(mixed)
    assert sorted(set(first)) == [0, 1, 2, 3, 4]


def test_a_batch_marks_answers_and_keeps_numbers_in_their_order() -> None:
    rows = [{**row_of([7, 8], [1]), "values": torch.tensor([0.1])}, {**row_of([9], [2, 3]), "values": torch.tensor([0.2, 0.3])}]
    batch = batch_of([*rows, row_of([9], [4]) | {"values": torch.tensor([0.4])}], pad=0)
    assert batch["input_ids"].tolist() == [[7, 8, 1], [9, 2, 3], [9, 4, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    assert batch["input_ids"][batch["answered"]].tolist() == [1, 2, 3, 4]
    close(batch["values"], [0.1, 0.2, 0.3, 0.4])
