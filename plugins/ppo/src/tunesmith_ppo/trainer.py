"""transformers' Trainer, learning from answers that the policy has just given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tunesmith.runtime.batch_trainer import BatchLoss, BatchTrainer

from tunesmith_ppo.adapting import DivergenceWeight, ScoreMoments
from tunesmith_ppo.advantages import estimate, token_rewards, whiten
from tunesmith_ppo.experience import Row, batch_of, split, table
from tunesmith_ppo.objective import losses_of
from tunesmith_ppo.options import PpoOptions
from tunesmith_ppo.order import BufferSampler
from tunesmith_ppo.reading import read
from tunesmith_ppo.rollout import Roller, Rollout


class PpoTrainer(BatchTrainer):
    """Fills a buffer with rated answers, learns from it ``ppo_epochs`` times, and begins anew.

    A step is an update of the weights. Losses are means over all tokens of a step, advantages are whitened over the whole
    buffer and over all processes, so that neither depends on how a batch is split. What is left of a buffer is in a
    checkpoint, as are the weight of the divergence and the moments of the scores.
    """

    def __init__(self, *args: Any, options: PpoOptions, **kwargs: Any) -> None:
        self.options = options
        self.rows: list[Row] = []
        self.left: list[list[int]] = []
        """Micro-batches of the buffer that are still to be learned from, as row numbers."""
        self.ahead = 0
        """How many batches of prompts the loader still has to hand over for the buffer at hand."""
        self.restored = False
        self.weight = DivergenceWeight(options.ppo_kl_coef, options.ppo_target, options.ppo_kl_horizon)
        self.moments = ScoreMoments()
        super().__init__(*args, **kwargs)
        self.roller = Roller(self.session)

    # -- prompts -------------------------------------------------------------------------------------------------------

    @property
    def batches_in_buffer(self) -> int:
        """Batches of prompts that this process answers before it learns."""
        return int(self.options.ppo_buffer_size * self.args.gradient_accumulation_steps)

    def _get_train_sampler(self, train_dataset: Any = None) -> BufferSampler:
        rows = len(self.train_dataset if train_dataset is None else train_dataset)
        size = self.batches_in_buffer * self.args.train_batch_size * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        shuffle = self.args.train_sampling_strategy != "sequential"
        return BufferSampler(rows, size, self.options.ppo_epochs, seed=seed, shuffle=shuffle)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """The next micro-batches of experience; with none left, prompts are answered first."""
        prompts = [] if self.left else [next(epoch_iterator)["asked"] for _ in range(self.batches_in_buffer)]
        ahead = self.ahead if self.left else self.batches_in_buffer * (self.options.ppo_epochs - 1)
        for _ in range(ahead):  # the same prompts once more, for the epochs that are learned from the buffer
            next(epoch_iterator)
        self.ahead = 0
        self._restore_random_state()
        if prompts:
            self._fill(prompts)
        taken, self.left = self.left[:num_batches], self.left[num_batches:]
        pad = self.session.tokenizer.pad_token_id
        return super().get_batch_samples(
            iter([batch_of([self.rows[at] for at in batch], pad) for batch in taken]), num_batches, device
        )

    # -- experience ----------------------------------------------------------------------------------------------------

    def _fill(self, prompts: list[Any]) -> None:
        rollout = self.roller.roll(self.accelerator.unwrap_model(self.model), prompts)
        self.measures.add({name: (total.to(self.args.device), count) for name, (total, count) in rollout.measures.items()})
        self.rows = self._judged(rollout)
        size = self.args.train_batch_size
        for _ in range(self.options.ppo_epochs):
            order = torch.randperm(len(self.rows)).tolist()
            self.left += [order[at : at + size] for at in range(0, len(order), size)]
        coefficient = torch.tensor(self.weight.value, device=self.args.device)
        self.measures.add({"kl_coef": (coefficient, 1)})
        self.weight.see(*self._mean_divergence(rollout))

    def _judged(self, rollout: Rollout) -> list[Row]:
        """Rows with the advantage and the return of every token."""
        options, scores = self.options, rollout.rated.total
        if options.ppo_score_norm:
            self.moments.see(scores, self._summed)
            scores = self.moments.normalised(scores)
        lengths = [len(row["values"]) for row in rollout.rows]
        values = table([row["values"] for row in rollout.rows])
        divergence = table([row["logprobs"] - row["reference"] for row in rollout.rows])
        mask = table([torch.ones(length) for length in lengths])
        rewards = token_rewards(scores, divergence, torch.tensor(lengths), self.weight.value)
        if options.ppo_whiten_rewards:
            rewards = whiten(rewards, mask, self._summed, centre=False)
        advantages = estimate(rewards, values, options.ppo_gamma, options.ppo_lambda)
        returns = split(advantages + values, lengths)
        white = split(whiten(advantages, mask, self._summed), lengths)
        return [{**row, "advantages": white[at], "returns": returns[at]} for at, row in enumerate(rollout.rows)]

    def _mean_divergence(self, rollout: Rollout) -> tuple[float, int]:
        both = torch.stack([rollout.divergence.sum().double(), torch.tensor(float(len(rollout.rows))).double()])
        total, count = self._summed(both).tolist()
        return total / count, int(count)

    def _summed(self, table: torch.Tensor) -> torch.Tensor:
        return self.summed(table.to(self.args.device)).cpu()

    # -- learning ------------------------------------------------------------------------------------------------------

    def size_of(self, batch: Mapping[str, Any]) -> int:
        """Tokens that the policy has said."""
        return int(batch["answered"].sum())

    def batch_loss(self, model: Any, batch: Mapping[str, Any]) -> BatchLoss:
        """The objective over one batch of answers."""
        said = read(model, batch, self.roller.temperature)
        found = losses_of(said, batch, self.options)
        total = found.policy + self.options.ppo_value_weight * found.value
        measures = {
            "loss/policy": found.policy,
            "loss/value": found.value,
            "policy/clipped": found.clipped,
            "policy/moved": found.moved,
            "policy/entropy": said.entropy,
            "returns": batch["returns"],
        }
        return BatchLoss(total.sum(), {name: (one.detach().sum(), len(one)) for name, one in measures.items()})

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None, None]:
        """Answer prompts that are set aside; the loss is what the answers lack in reward."""
        rollout = self.roller.roll(self.accelerator.unwrap_model(model), [inputs["asked"]])
        measures = {name: (total.to(self.args.device), count) for name, (total, count) in rollout.measures.items()}
        reward, count = measures["reward"]
        self.judged.add({"loss": (-reward, count), **measures})
        return -reward / count, None, None

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def running(self) -> dict[str, Any]:
        """With what is left of the buffer, the weight of the divergence and the moments of the scores."""
        own: dict[str, Any] = {"kl_coef": self.weight.value, "moments": self.moments.state()}
        if self.left:
            own |= {"left": self.left, "rows": [dict(row) for row in self.rows]}
        return {**super().running(), **own}

    def go_on(self, running: Mapping[str, Any]) -> None:
        """Take up what :meth:`running` gave."""
        super().go_on(running)
        self.weight.value = running["kl_coef"]
        self.moments.restore(running["moments"])
        self.left, self.rows = running.get("left", []), running.get("rows", [])
        self.ahead = len(self.left)

    def _restore_random_state(self) -> None:
        """After the loader has begun, which draws a number, and before answers are drawn, not after it."""
        if self.session.resume is not None and not self.restored:
            self._load_rng_state(str(self.session.resume.folder))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if not self.restored:
            super()._load_rng_state(checkpoint)
        self.restored = True
