"""The suite for reward functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from tunesmith import RewardSpec
from tunesmith.contracts import Reward
from tunesmith.data.conversation import Conversation, Turn
from tunesmith.plan import Plan
from tunesmith.spec import options_of
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import load, option_faults, spec_faults

#: A prompt, what was answered, the row's other columns, and the score that it must get.
Case = tuple[Conversation, Turn, Mapping[str, Any], float]


class RewardSuite:
    """That a reward gives the expected score to each completion, alone and in any company.

    Set ``spec``, the ``options`` to try it with, and ``cases`` with at least two different scores::

        class TestExact(RewardSuite):
            spec = EXACT
            cases = (
                (question("2 + 2?"), answer("4"), {"answer": "4"}, 1.0),
                (question("2 + 2?"), answer("5"), {"answer": "4"}, 0.0),
            )
    """

    spec: ClassVar[RewardSpec]
    options: ClassVar[tuple[object, ...]] = ()
    keys: ClassVar[Mapping[str, Any]] = {}
    cases: ClassVar[tuple[Case, ...]] = ()
    tolerance: ClassVar[float] = 1e-6
    """The largest difference between scores that counts as none."""

    @cached_property
    def plan(self) -> Plan:
        """A plan with the options of the suite."""
        return hand_plan(*self.options, picked={"rewards": self.spec.name}, **self.keys)

    def reward(self) -> Reward:
        """A new reward, as a run makes it."""
        reward: Reward = load(self.spec)(self.plan)
        return reward

    def scores(self, cases: tuple[Case, ...]) -> list[float]:
        """What a new reward gives to ``cases`` in one call."""
        prompts, completions, extras, _ = zip(*cases, strict=True)
        return self.reward().score(prompts=prompts, completions=completions, extras=extras)

    def same(self, first: list[float], second: list[float]) -> bool:
        """Whether two lists of scores are equal but for rounding."""
        pairs = zip(first, second, strict=True)
        return all(math.isclose(one, other, abs_tol=self.tolerance) for one, other in pairs)

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line; options are a frozen dataclass in which every key has help."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)

    def test_the_cases_can_fail(self) -> None:
        """At least two different scores are expected, so that a constant cannot pass."""
        assert len({expected for *_, expected in self.cases}) > 1, "give cases with different scores"

    def test_each_completion_gets_one_finite_number(self) -> None:
        """As many scores as completions, each a float that is a number."""
        scores = self.scores(self.cases)
        assert len(scores) == len(self.cases)
        assert all(isinstance(score, float) and math.isfinite(score) for score in scores), scores

    def test_it_scores_as_expected(self) -> None:
        """Every case gets the score that it says."""
        expected = [score for *_, score in self.cases]
        assert self.same(self.scores(self.cases), expected), f"{self.scores(self.cases)} where {expected} is expected"

    def test_a_score_does_not_depend_on_its_neighbours(self) -> None:
        """Scored alone, and in the opposite order, each completion gets the same."""
        together = self.scores(self.cases)
        assert self.same([self.scores((case,))[0] for case in self.cases], together)
        assert self.same(self.scores(self.cases[::-1])[::-1], together)
