"""A mixin for any trainer built on transformers': durable checkpoints without pickle, exact resume, clean interruption.

Put it before the trainer's class: ``class SftTrainer(SessionTrainer, Trainer)``, and pass ``session=``.
The weights were already put back by :func:`~tunesmith.runtime.session.open_session`; this class restores everything else.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import model_has_dtensor
from transformers.trainer_callback import ExportableState, PrinterCallback, ProgressCallback
from transformers.trainer_utils import SaveStrategy

from tunesmith.errors import TunesmithError, nearest
from tunesmith.output_folder import STAGING, remove_run
from tunesmith.runtime import checkpoint as checkpoints
from tunesmith.runtime.durable_files import disk_troubles, write_json
from tunesmith.runtime.fitting import fit_to_data
from tunesmith.runtime.interruption import Interruption, keep_workers
from tunesmith.runtime.optimizing import build_optimizer
from tunesmith.runtime.progress import ProgressLog
from tunesmith.runtime.progress_bar import Progress
from tunesmith.runtime.run_callback import CutShortError, RunCallback
from tunesmith.runtime.sampling import EpochSampler, row_lengths
from tunesmith.runtime.session import Session, reload_policy
from tunesmith.runtime.streaming import StreamedRows
from tunesmith.runtime.tensor_tree import is_saved, load_tree, save_tree
from tunesmith.runtime.value_head import take_value_head, write_value_head
from tunesmith.runtime.versions import versions
from tunesmith.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object

log = logging.getLogger(__name__)

STATE = "trainer_state.json"


class SessionTrainer(Trainer):
    """The parts of a trainer that have to do with the session: optimizer, callbacks, checkpoints, resume, signals."""

    def __init__(self, *args: Any, session: Session, **kwargs: Any) -> None:
        self.session = session
        self.interruption = Interruption()
        self.tokens_seen = 0
        self.watchdog = watchdog_of(session)
        super().__init__(*args, **kwargs)
        for shown_by_transformers in (ProgressCallback, PrinterCallback):
            self.remove_callback(shown_by_transformers)
        self._make_ready(list(session.models))
        if self.stream is not None:
            self.args.ignore_data_skip = True  # a stream knows its place, and goes on from there by itself
        for callback in (
            *session.tuner.callbacks(session),
            *session.callbacks,
            *(one.callback() for one in session.trackers),
            ProgressLog(session.output_dir),
            Progress(self),
        ):
            self.add_callback(callback)
        self.add_callback(RunCallback(self))

    def _make_ready(self, roles: Iterable[str]) -> None:
        """Let the strategy have a hand in the models that do not learn."""
        models = self.session.models
        for role in roles:
            if models[role] is not models.get("policy"):
                models[role] = self.session.strategy.frozen(models[role], self)

    # -- training ------------------------------------------------------------------------------------------------------

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train from the session's checkpoint, where it has one; SIGTERM and Ctrl-C end it with a checkpoint."""
        resume = self.session.resume
        if resume is None and self.is_world_process_zero() and self.session.plan["overwrite_output_dir"]:
            remove_run(self.session.output_dir)
        kwargs["resume_from_checkpoint"] = str(resume.folder) if resume else None
        if self.session.fresh:
            fit_to_data(self)
            if self.session.twin is not None:
                self.session.twin.check()
        with self.interruption.listening(), self.watchdog.watching():
            output = super().train(*args, **kwargs)
        self._take_weights_to_keep()
        return output

    def _take_weights_to_keep(self) -> None:
        """Optimizers that train at another point than the one they have found (schedule-free ones) put that one in place.

        A run that goes on leaves it again at its next step, exactly as one that is resumed from there.
        """
        settle = getattr(self.optimizer, "eval", None)
        if callable(settle):
            settle()

    @property
    def stopped(self) -> str:
        """Why training ended before its last step, or the empty string."""
        if self.interruption.reason:
            return self.interruption.reason
        return "early stopping" if self.state.global_step < self.state.max_steps else ""

    def create_optimizer(self, model: Any = None) -> Any:
        """The picked optimizer over the tuner's groups; where neither has a say, transformers' own."""
        if self.optimizer is None:
            self.optimizer: Any = build_optimizer(self, model if model is not None else self.model)
        return super().create_optimizer(model)

    @property
    def stream(self) -> StreamedRows | None:
        """What is learned from, where it is read while it is learned from."""
        return self.train_dataset if isinstance(self.train_dataset, StreamedRows) else None

    def get_train_dataloader(self) -> Any:
        """A stream's own loader, which shares rows out among processes and reads nothing ahead; else transformers'."""
        if self.stream is None:
            return super().get_train_dataloader()
        return self.stream.loader(self._train_batch_size, self.data_collator)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of the next step; their tokens are counted, with padding, of all processes."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        ids = [one for batch in batches for name, one in batch.items() if name.endswith("input_ids")]
        self.tokens_seen += sum(one.numel() for one in ids) * self.args.world_size
        return batches, items

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        """Weights in parts lie where their strategy has put them, be it in CPU memory."""
        if not model_has_dtensor(model):
            super()._move_model_to_device(model, device)

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        loader = super()._get_dataloader(*args, **kwargs)
        keep_workers(loader)
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = row_lengths(dataset)
        if lengths is not None and self.args.train_sampling_strategy == "group_by_length":
            return EpochSampler.by_length(lengths, self.args)
        return super()._get_train_sampler(train_dataset)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:  # resumed from the very last step: nothing is left to do
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate while training; a signal cuts it short, since whoever sent it may not wait for the end."""
        try:
            metrics: dict[str, float] = super()._evaluate(*args, **kwargs)
        except CutShortError:
            log.warning("The evaluation after step %d is cut short and will not be made up for.", self.state.global_step)
            self.control.should_training_stop = self.control.should_save = True
            return {}
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        # Without figures nothing is best; true all the same, or save_strategy: best would not save.
        wanted = str(self.args.metric_for_best_model)
        if metrics and self.args.metric_for_best_model and not {wanted, f"eval_{wanted}"} & set(metrics):
            names = [name.removeprefix("eval_") for name in metrics if name.startswith("eval_")]
            hint = nearest(wanted.removeprefix("eval_"), names) or f"There are {', '.join(names)}."
            raise TunesmithError(f"metric_for_best_model: the evaluation knows no {wanted}.", hint)
        return bool(super()._determine_best_metric(metrics, trial)) if metrics else True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As transformers', but a resumed run's ``train_loss`` is that of the whole run."""
        if "train_loss" in logs and self.state.global_step:
            logs["train_loss"] = self._total_loss_scalar / self.state.global_step
        if self.session.plan["record_vram"]:
            logs["peak_memory_gib"] = round(self.session.backend.memory(self.args.local_process_index).peak / 2**30, 6)
        super().log(logs, start_time)

    # -- writing checkpoints -------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.store_flos()
        target = self.session.output_dir / f"checkpoint-{self.state.global_step}"
        self._note_best(target)
        self._take_weights_to_keep()
        with self._writing(target), self._staged(target) as folder:
            self._save(str(folder))
            if not self.args.save_only_model or self.interruption.reason:
                self._save_optimizer_and_scheduler(str(folder))
                self._save_scaler(str(folder))
                self._save_rng_state(str(folder))
                self._save_running(folder)
                self._save_stream(folder)
            self._save_trainer_state(folder)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(target))
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            checkpoints.rotate(self.session.output_dir, self.args.save_total_limit, [Path(best)] if best else [])

    def _note_best(self, target: Path) -> None:
        step = self.state.best_global_step
        best = target.with_name(f"checkpoint-{step}")
        if self.args.save_strategy != SaveStrategy.NO and step and (best == target or best.is_dir()):
            self.state.best_model_checkpoint = str(best)

    @contextmanager
    def _writing(self, target: Path) -> Iterator[None]:
        older = checkpoints.checkpoints_in(self.session.output_dir)
        kept = (
            f"{older[-1]} is intact: free some space, then resume_from_checkpoint: true"
            if older
            else "No checkpoint was written: free some space, or write output_dir: a folder on another disk."
        )
        with disk_troubles(f"Writing {target}", kept):
            yield

    @contextmanager
    def _staged(self, target: Path) -> Iterator[Path]:
        """A folder that becomes ``target`` when all processes have written their share."""
        folder = checkpoints.stage(target) if self.args.should_save else target.with_name(STAGING + target.name)
        self.accelerator.wait_for_everyone()
        if not folder.is_dir():
            raise TunesmithError(
                f"{folder.parent} is not the same folder on every machine: this one does not see what the first one wrote.",
                "Write output_dir: a folder on a file system that all machines share.",
            )
        try:
            yield folder
        except BaseException:
            checkpoints.discard(folder)
            raise
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoints.publish(folder, target, self.state.global_step, self.session.fingerprints, versions())
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The tuner's weights and the tokenizer; never transformers' pickled ``training_args.bin``."""
        folder = Path(output_dir or self.args.output_dir)
        if state_dict is not None:  # a sharded model that transformers has gathered
            head = take_value_head(state_dict)
            super()._save(output_dir, state_dict)
            if head:
                write_value_head(head, folder)
            (folder / "training_args.bin").unlink(missing_ok=True)
        else:
            if self.args.should_save:
                folder.mkdir(parents=True, exist_ok=True)
            self.session.save_model(folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        self.session.strategy.save(self, Path(output_dir))

    def _save_scaler(self, output_dir: str) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and self.args.should_save:
            save_tree(Path(output_dir) / "scaler", scaler.state_dict())

    def _save_rng_state(self, output_dir: str) -> None:
        state = {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "torch": torch.random.get_rng_state(),
            "device": dict(self.session.backend.rng_state()),
        }
        save_tree(Path(output_dir) / f"rng-{self.args.process_index}", state)

    def _save_running(self, folder: Path) -> None:
        """This process's sums since the last log line, so that a resumed run logs what the uninterrupted one would have."""
        save_tree(folder / f"running-{self.args.process_index}", self.running())

    def running(self) -> dict[str, Any]:
        """What this process has summed up since the last log line."""
        return {"loss": self._tr_loss.item(), "total": self._total_loss_scalar, "logged": self._globalstep_last_logged}

    def _save_stream(self, folder: Path) -> None:
        if self.stream is not None:
            self.stream.save(folder)
            if self.args.should_save:
                self.stream.write_report(folder, self.session.prepared.report)

    def _save_trainer_state(self, folder: Path) -> None:
        if not self.args.should_save:
            return
        (folder / "plan.json").write_text(self.session.plan.to_json(), encoding="utf-8")
        states: dict[str, Any] = {}
        for one in (*self.callback_handler.callbacks, self.control):
            if isinstance(one, ExportableState):
                states.setdefault(type(one).__name__, []).append(one.state())
        self.state.stateful_callbacks = {name: held[0] if len(held) == 1 else held for name, held in states.items()}
        self.state.save_to_json(str(folder / STATE))

    def save_state(self) -> None:
        """Write ``trainer_state.json`` into the output folder."""
        if self.is_world_process_zero():
            plain = {name: value for name, value in vars(self.state).items() if name != "stateful_callbacks"}
            write_json(self.session.output_dir / STATE, plain)

    # -- reading checkpoints -------------------------------------------------------------------------------------------

    @property
    def _foreign(self) -> bool:
        resume = self.session.resume
        return resume is not None and resume.manifest is None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The weights are there already."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._foreign:
            super()._load_optimizer_and_scheduler(checkpoint)
        else:
            self.session.strategy.resume(self, Path(checkpoint))

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._foreign:
            super()._load_scaler(checkpoint)
        elif is_saved(Path(checkpoint) / "scaler"):
            self.accelerator.scaler.load_state_dict(load_tree(Path(checkpoint) / "scaler"))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._foreign:
            super()._load_rng_state(checkpoint)
        elif is_saved(stem := Path(checkpoint) / f"rng-{self.args.process_index}"):
            state = load_tree(stem)
            random.setstate(state["python"])
            np.random.set_state(state["numpy"])
            torch.random.set_rng_state(state["torch"])
            self.session.backend.set_rng_state(state["device"])
        else:
            log.warning("%s holds no random state for this process: what follows is not repeatable.", checkpoint)

    def load_running(self) -> None:
        """Take up the sums that :meth:`_save_running` wrote."""
        resume = self.session.resume
        if resume is None or not is_saved(stem := resume.folder / f"running-{self.args.process_index}"):
            return
        self.go_on(load_tree(stem))

    def go_on(self, running: Mapping[str, Any]) -> None:
        """Take up what :meth:`running` gave."""
        self._tr_loss.fill_(running["loss"])
        self._total_loss_scalar, self._globalstep_last_logged = running["total"], running["logged"]

    def _load_best_model(self) -> None:
        if self.session.strategy.reads_back():
            super()._load_best_model()
        elif not self.interruption.reason:
            self._take_weights(Path(self.state.best_model_checkpoint))

    def _take_weights(self, best: Path) -> None:
        measure = self.args.metric_for_best_model
        log.info("Taking the best weights, those of %s (%s %.6g).", best.name, measure, self.state.best_metric)
        self.accelerator.free_memory()
        self.model = self.model_wrapped = reload_policy(self.session, best)
        self._make_ready(role for role, wish in self.session.plan.models.items() if wish.base_of == "policy")
        self._move_model_to_device(self.model, self.args.device)
        self.callback_handler.model = self.model


def watchdog_of(session: Session) -> Watchdog:
    """The one that ``hang_timeout`` asks for."""
    settings = session.plan.settings
    seconds = settings["hang_timeout"].value if "hang_timeout" in settings else 0
    return Watchdog(seconds, f"Process {session.args.process_index} of {session.args.world_size}")
