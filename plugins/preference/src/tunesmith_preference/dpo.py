"""transformers' Trainer with the losses of the stage ``dpo``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from tunesmith.runtime.batch_trainer import BatchLoss, BatchTrainer
from tunesmith.runtime.collate import IGNORED

from tunesmith_preference.answers import Answers, answers_of, inputs_of, read_answers
from tunesmith_preference.losses import Pairs, Whole, loss_of
from tunesmith_preference.options import KINDS, DpoOptions
from tunesmith_preference.reference import Reference
from tunesmith_preference.step import of_all_processes

SIDES = ("chosen", "rejected")


class DpoTrainer(BatchTrainer):
    """Learns pairs; a step's loss is the mean over its pairs, however they are split into batches and over processes.

    Losses in which pairs depend on each other get to know all pairs of a step from a pass without gradients before the first
    batch is learned from; where a step is one batch on one process there is nothing to find out. In an evaluation each batch
    stands by itself.
    """

    def __init__(self, *args: Any, options: DpoOptions, reference: Reference, **kwargs: Any) -> None:
        self.options, self.reference = options, reference
        self.compared = any(KINDS[name].reference for name in options.pref_loss) or bool(options.pref_bco_weight)
        self.rewards, self.seen = 0.0, 0.0
        super().__init__(*args, **kwargs)

    def size_of(self, batch: Mapping[str, Any]) -> int:
        """Pairs in a batch: half its rows."""
        return len(batch["input_ids"]) // 2

    # -- a step as a whole ---------------------------------------------------------------------------------------------

    def look_over(self, batches: Sequence[dict[str, Any]]) -> None:
        """Tell each batch the mean length of the step's better answers and, where its loss asks for it, of all its pairs."""
        counts = torch.tensor([[_tokens(batch), self.size_of(batch)] for batch in batches]).sum(0).to(self.args.device)
        tokens, pairs = self.summed(counts).tolist()
        for batch in batches:
            batch["step"] = {"tokens": tokens / max(pairs, 1)}
        depends = any(KINDS[name].whole for name in self.options.pref_loss)
        split = len(batches) > 1 or self.args.world_size > 1
        if self.options.pref_bco_weight or (depends and split):
            self._note_all_pairs(batches)

    def _note_all_pairs(self, batches: Sequence[dict[str, Any]]) -> None:
        tables = []
        for batch in batches:
            with torch.no_grad(), self.compute_loss_context_manager():
                pairs = self._pairs(self.model, self._prepare_inputs(batch))
            ratios = (pairs.chosen_ratio, pairs.rejected_ratio)
            tables.append(torch.stack([*ratios, pairs.chosen - pairs.rejected, pairs.ref_chosen - pairs.ref_rejected], dim=1))
        table, first = of_all_processes(self.accelerator, torch.cat(tables))
        whole = Whole(*table.unbind(1))
        self.rewards += float(self.options.pref_beta * (whole.chosen.sum() + whole.rejected.sum()))
        self.seen += 2 * len(table)
        for batch in batches:
            batch["step"] |= {"whole": replace(whole, first=first), "shift": self.rewards / self.seen}
            first += self.size_of(batch)

    def running(self) -> dict[str, Any]:
        """With the mean reward so far, from which BCO measures."""
        return {**super().running(), "rewards": self.rewards, "seen": self.seen}

    def go_on(self, running: Mapping[str, Any]) -> None:
        """Take up what :meth:`running` gave."""
        super().go_on(running)
        self.rewards, self.seen = running.get("rewards", 0.0), running.get("seen", 0.0)

    # -- a batch -------------------------------------------------------------------------------------------------------

    def batch_loss(self, model: Any, batch: Mapping[str, Any]) -> BatchLoss:
        """Losses of one batch of pairs, and what users expect to see beside them."""
        if (fused := self._fused()) is not None:
            return self._fused_loss(fused, model, batch)
        answers = self._read(model, batch)
        pairs = self._compared(answers, batch)
        losses = loss_of(pairs, self.options)
        return BatchLoss(losses.sum(), {**self._measures(pairs, answers), **self._odds(pairs, losses)})

    def _pairs(self, model: Any, batch: Mapping[str, Any]) -> Pairs:
        return self._compared(self._read(model, batch), batch)

    def _read(self, model: Any, batch: Mapping[str, Any]) -> Answers:
        return read_answers(model, batch, ld_alpha=self.options.ld_alpha, token_loss=self.session.losses.get("token"))

    def _fused(self) -> Callable[..., Any] | None:
        """An accelerator's loss of pairs, where it has this very one and nothing else is added to it."""
        options = self.options
        more = options.pref_loss_weights or options.pref_bco_weight or options.pref_ftx or options.dpo_label_smoothing
        if len(options.pref_loss) > 1 or more or options.ld_alpha is not None:
            return None
        return self.session.losses.get(f"pairs:{options.pref_loss[0]}")

    def _fused_loss(self, fused: Callable[..., Any], model: Any, batch: Mapping[str, Any]) -> BatchLoss:
        reference = self.reference.pairs(batch)
        losses, *logps = fused(model, inputs_of(batch), batch["labels"], reference, self.options.pref_beta)
        each = torch.cat(logps)[:, None]  # sums over answers already
        answers = answers_of(each, batch)
        pairs = self._compared(answers, {**batch, **dict(zip(self.reference.names, reference, strict=True))})
        return BatchLoss(losses.sum(), self._measures(pairs, answers))

    def _compared(self, answers: Answers, batch: Mapping[str, Any]) -> Pairs:
        chosen, rejected = answers.logps.chunk(2)
        if self.compared:
            ref_chosen, ref_rejected = self.reference.pairs(batch)
        else:
            ref_chosen = ref_rejected = torch.zeros_like(chosen)
        lengths, means, plain = answers.lengths.chunk(2), answers.means.chunk(2), answers.plain.chunk(2)
        step = {"tokens": float(lengths[0].sum()) / len(chosen), "shift": self.rewards / max(self.seen, 1.0)}
        step |= batch.get("step", {})
        return Pairs(chosen, rejected, ref_chosen, ref_rejected, *lengths, *means, plain[0], **step)

    def _measures(self, pairs: Pairs, answers: Answers) -> dict[str, tuple[torch.Tensor, float]]:
        beta, count = self.options.pref_beta, len(pairs.chosen)
        sides = (pairs.chosen_ratio, pairs.rejected_ratio) if self.compared else (pairs.chosen_mean, pairs.rejected_mean)
        better, worse = (beta * side.detach() for side in sides)
        found = {
            "rewards/chosen": better.sum(),
            "rewards/rejected": worse.sum(),
            "rewards/accuracies": (better > worse).sum(),
            "rewards/margins": (better - worse).sum(),
        }
        for name, values in (("logps", answers.logps), ("logits", answers.logits)):
            if values is not None:
                found |= {f"{name}/{side}": part.sum() for side, part in zip(SIDES, values.chunk(2), strict=True)}
        return {name: (total, count) for name, total in found.items()}

    def _odds(self, pairs: Pairs, losses: torch.Tensor) -> dict[str, tuple[torch.Tensor, float]]:
        """The two parts of ORPO's loss."""
        options = self.options
        if options.pref_loss != ("orpo",) or options.pref_ftx or options.pref_bco_weight:
            return {}
        plain, count = -pairs.chosen_mean, len(losses)
        return {"sft_loss": (plain.sum(), count), "odds_ratio_loss": (((losses - plain) / options.pref_beta).sum(), count)}


def _tokens(batch: Mapping[str, Any]) -> int:
    """Tokens of the better answers."""
    return int((batch["labels"][: len(batch["labels"]) // 2, 1:] != IGNORED).sum())
