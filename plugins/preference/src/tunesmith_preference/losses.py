"""The preference losses. Each gives one number to a pair; a step's loss is their mean.

Written x for a log-probability, r for that of the reference model: a *ratio* is x − r of one answer, the *margin* the better
answer's ratio minus the worse one's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid, relu

from tunesmith_preference.options import DpoOptions


@dataclass(frozen=True)
class Whole:
    """What all pairs of a step, on all processes, look like. Without gradients.

    :param chosen: ratios of the better answers, (all pairs,); ``rejected``: of the worse ones.
    :param policy: the better answer's log-probability minus the worse one's; ``reference``: the same of the reference model.
    :param first: the place of this batch's first pair among them.
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    policy: torch.Tensor
    reference: torch.Tensor
    first: int = 0


@dataclass(frozen=True)
class Pairs:
    """Pairs of answers, each tensor of shape (pairs,).

    :param chosen: log-probabilities of the better answers, summed over tokens; ``rejected``: of the worse ones.
    :param ref_chosen: those of the reference model; zeros where there is none.
    :param chosen_mean: log-probability per token; ``rejected_mean`` alike.
    :param shift: the point from which BCO measures rewards.
    :param tokens: tokens of a better answer, on average over the step.
    :param whole: all pairs of the step where they are more than these.
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    ref_chosen: torch.Tensor
    ref_rejected: torch.Tensor
    chosen_length: torch.Tensor
    rejected_length: torch.Tensor
    chosen_mean: torch.Tensor
    rejected_mean: torch.Tensor
    plain_chosen: torch.Tensor
    shift: float = 0.0
    tokens: float = 1.0
    whole: Whole | None = None

    @property
    def chosen_ratio(self) -> torch.Tensor:
        """How much likelier the better answers are than to the reference model."""
        return self.chosen - self.ref_chosen

    @property
    def rejected_ratio(self) -> torch.Tensor:
        """The same of the worse answers."""
        return self.rejected - self.ref_rejected

    @property
    def margin(self) -> torch.Tensor:
        """How much more so the better answers."""
        return self.chosen_ratio - self.rejected_ratio

    @property
    def mean_margin(self) -> torch.Tensor:
        """The margin with both ratios per token."""
        return self.chosen_ratio / self.chosen_length.clamp(min=1) - self.rejected_ratio / self.rejected_length.clamp(min=1)

    @property
    def all_pairs(self) -> Whole:
        """All pairs of the step: these, where nothing else is known."""
        if self.whole is not None:
            return self.whole
        parts = (self.chosen_ratio, self.rejected_ratio, self.chosen - self.rejected, self.ref_chosen - self.ref_rejected)
        return Whole(*(part.detach() for part in parts))


Loss = Callable[[Pairs, DpoOptions], torch.Tensor]


def loss_of(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """The loss of each pair, (pairs,): all that the options ask for, with their weights."""
    weights = options.pref_loss_weights or (1.0,) * len(options.pref_loss)
    total = sum(weight * LOSSES[name](pairs, options) for name, weight in zip(options.pref_loss, weights, strict=True))
    assert isinstance(total, torch.Tensor)
    if options.pref_bco_weight:
        total = (total + options.pref_bco_weight * bco(pairs, options)) / (1 + options.pref_bco_weight)
    return total - options.pref_ftx * pairs.chosen_mean if options.pref_ftx else total


def _doubted(logits: torch.Tensor, doubt: float) -> torch.Tensor:
    """−log σ, with a share of ``doubt`` for the opposite (cDPO, Mitchell 2023)."""
    return -(1 - doubt) * logsigmoid(logits) - doubt * logsigmoid(-logits)


def sigmoid(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Rafailov et al. 2023, arXiv:2305.18290, Eq. 7; smoothed as in cDPO."""
    return _doubted(options.pref_beta * pairs.margin, options.dpo_label_smoothing)


def hinge(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Zhao et al. 2023 (SLiC), arXiv:2305.10425."""
    return relu(1 - options.pref_beta * pairs.margin)


def ipo(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Azar et al. 2023, arXiv:2310.12036, Eq. 17, on ratios per token."""
    return (pairs.mean_margin - 1 / (2 * options.pref_beta)) ** 2


def kto_pair(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Ethayarajh et al. 2024, arXiv:2402.01306, for pairs: each side is held against the mean ratio of the other."""
    whole, beta = pairs.all_pairs, options.pref_beta
    better = 1 - torch.sigmoid(beta * (pairs.chosen_ratio - whole.rejected.mean().clamp(min=0)))
    worse = 1 - torch.sigmoid(beta * (whole.chosen.mean().clamp(min=0) - pairs.rejected_ratio))
    return (better + worse) / 2


def orpo(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Hong et al. 2024, arXiv:2403.07691, Eq. 6 and 7: the plain loss, and the odds of one answer over the other."""
    better, worse = pairs.chosen_mean, pairs.rejected_mean
    odds = (better - worse) - (torch.log1p(-torch.exp(better)) - torch.log1p(-torch.exp(worse)))
    return -better - options.pref_beta * logsigmoid(odds)


def simpo(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Meng et al. 2024, arXiv:2405.14734, Eq. 6."""
    return -logsigmoid(options.pref_beta * (pairs.chosen_mean - pairs.rejected_mean) - options.simpo_gamma)


def exo_pair(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Ji et al. 2024, arXiv:2402.00856, Eq. 16."""
    logits = options.pref_beta * pairs.margin
    doubt = torch.tensor(options.dpo_label_smoothing, dtype=logits.dtype, device=logits.device)
    better = torch.sigmoid(logits) * (logsigmoid(logits) - torch.log1p(-doubt))
    return better + torch.sigmoid(-logits) * (logsigmoid(-logits) - torch.log(doubt))


def nca_pair(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Chen et al. 2024, arXiv:2402.05369."""
    better, worse = options.pref_beta * pairs.chosen_ratio, options.pref_beta * pairs.rejected_ratio
    return -logsigmoid(better) - 0.5 * logsigmoid(-better) - 0.5 * logsigmoid(-worse)


def robust(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Chowdhury et al. 2024, arXiv:2403.00409: unbiased where a known share of pairs is the wrong way round."""
    logits, doubt = options.pref_beta * pairs.margin, options.dpo_label_smoothing
    return (-(1 - doubt) * logsigmoid(logits) + doubt * logsigmoid(-logits)) / (1 - 2 * doubt)


def bco_pair(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Jung et al. 2024, arXiv:2404.04656, with rewards measured from zero."""
    return -logsigmoid(options.pref_beta * pairs.chosen_ratio) - logsigmoid(-options.pref_beta * pairs.rejected_ratio)


def bco(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """The same with rewards measured from ``shift``, their mean so far."""
    better = options.pref_beta * pairs.chosen_ratio - pairs.shift
    worse = options.pref_beta * pairs.rejected_ratio - pairs.shift
    return -logsigmoid(better) - logsigmoid(-worse)


def sppo_hard(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Wu et al. 2024, arXiv:2405.00675, Eq. 4.7, the better answer winning for certain."""
    half = 0.5 / options.pref_beta
    return (pairs.chosen_ratio - half) ** 2 + (pairs.rejected_ratio + half) ** 2


def _places(values: torch.Tensor) -> torch.Tensor:
    """The place of each value among them all, from the smallest."""
    return values.argsort(stable=True).argsort(stable=True)


def aot(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Melnyk et al. 2024, arXiv:2406.05882: differences, sorted over the whole step, against the reference's, sorted too."""
    whole, mine = pairs.all_pairs, slice(pairs.all_pairs.first, pairs.all_pairs.first + len(pairs.chosen))
    against = whole.reference.sort().values[_places(whole.policy)[mine]]
    return _doubted(options.pref_beta * (pairs.chosen - pairs.rejected - against), options.dpo_label_smoothing)


def aot_unpaired(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """The same for better answers against worse ones, each side sorted over the whole step.

    A couple of the sorted lists may come from two batches: each counts its own side with its gradient, and half the value.
    """
    whole, mine = pairs.all_pairs, slice(pairs.all_pairs.first, pairs.all_pairs.first + len(pairs.chosen))
    worse = whole.rejected.sort().values[_places(whole.chosen)[mine]]
    better = whole.chosen.sort().values[_places(whole.rejected)[mine]]
    beta, doubt = options.pref_beta, options.dpo_label_smoothing
    both = _doubted(beta * (pairs.chosen_ratio - worse), doubt) + _doubted(beta * (better - pairs.rejected_ratio), doubt)
    return both - both.detach() / 2


def apo_zero(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """D'Oosterlinck et al. 2024, arXiv:2408.06266, Eq. 7: for answers better than the model's own."""
    beta = options.pref_beta
    return 1 - torch.sigmoid(beta * pairs.chosen_ratio) + torch.sigmoid(beta * pairs.rejected_ratio)


def apo_down(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """The same, Eq. 8: for answers that are all worse than the model's own."""
    beta = options.pref_beta
    return torch.sigmoid(beta * pairs.chosen_ratio) + 1 - torch.sigmoid(beta * pairs.margin)


def discopop(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """Lu et al. 2024, arXiv:2406.08414, Eq. 5: the logistic and the exponential loss, blended."""
    logits = options.pref_beta * pairs.margin
    blend = torch.sigmoid(logits / options.discopop_tau)
    return -logsigmoid(logits) * (1 - blend) + torch.exp(-logits) * blend


def sft(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """The plain loss of the better answers, a mean over all their tokens in the step."""
    return -pairs.plain_chosen / pairs.tokens


def sigmoid_norm(pairs: Pairs, options: DpoOptions) -> torch.Tensor:
    """``sigmoid`` on ratios per token (Lambert et al. 2024, Tülu 3, arXiv:2411.15124)."""
    return -logsigmoid(options.pref_beta * pairs.mean_margin)


LOSSES: Mapping[str, Loss] = {
    one.__name__: one
    for one in (
        *(sigmoid, hinge, ipo, kto_pair, orpo, simpo, exo_pair, nca_pair, robust, bco_pair, sppo_hard, aot, aot_unpaired),
        *(apo_zero, apo_down, discopop, sft, sigmoid_norm),
    )
}
