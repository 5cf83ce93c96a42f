"""The live objects of one run, opened in a fixed order and closed once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig, set_seed

from tunesmith.contracts import Accelerator, Backend, Optimizer, Renderer, Strategy, Tracker, Trainer, Tuner
from tunesmith.data.store import TokenStore
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import bears
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime import loading, precision
from tunesmith.runtime.advised import advised
from tunesmith.runtime.arguments import Demand, build_arguments
from tunesmith.runtime.base_changes import BaseChanges, change_rows, changes_of
from tunesmith.runtime.checkpoint import Checkpoint, clean_up, find_checkpoint
from tunesmith.runtime.device_choice import Home
from tunesmith.runtime.drift import check_drift
from tunesmith.runtime.durable_files import write_text
from tunesmith.runtime.fingerprints import data_hash, fingerprints
from tunesmith.runtime.held_still import hold_still, settle_media
from tunesmith.runtime.letting_go import let_go
from tunesmith.runtime.new_tokens import NO_ROWS, grow, grows
from tunesmith.runtime.processes import first_decides
from tunesmith.runtime.resuming_spread import check_processes, started_again, written_before
from tunesmith.runtime.speaking import no_bars, speak
from tunesmith.runtime.stopping import generation_config
from tunesmith.runtime.streaming import StreamedRows
from tunesmith.runtime.twin import Twin
from tunesmith.runtime.upcasting import upcast
from tunesmith.runtime.value_head import add_value_head, head_aside, write_value_head
from tunesmith.runtime.weight_listing import listing
from tunesmith.specs import StrategySpec
from tunesmith.templates import make_renderer
from tunesmith.templates.media_renderer import copy_processor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

    from tunesmith.data.flow import Prepared

log = logging.getLogger(__name__)


@dataclass
class Session:
    """Everything alive in a run. ``models`` holds each role's model; a role that is another's base is that very object.

    ``losses`` are those that accelerators compute in place of the stage.
    """

    plan: Plan
    plugins: Plugins
    prepared: Prepared
    trainer: Trainer
    backend: Backend
    strategy: Strategy
    accelerators: tuple[Accelerator, ...]
    tuner: Tuner
    optimizer: Optimizer | None
    callbacks: tuple[TrainerCallback, ...]
    trackers: tuple[Tracker, ...]
    args: TrainingArguments
    losses: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    resume: Checkpoint | None = None
    fresh: bool = False
    """Whether what learns starts from nothing, so that the tuner may fit it to the data before the first step."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    models: dict[str, PreTrainedModel] = field(default_factory=dict)
    changes: BaseChanges | None = None
    """What was changed in the policy's model before its tuner came, where anything was."""
    twin: Twin | None = None
    """What the policy starts from, where another role has the same weights with another adapter."""
    tokenizer: Any = None
    renderer: Renderer | None = None
    train_data: TokenStore | StreamedRows | None = None
    eval_data: Mapping[str, TokenStore] = field(default_factory=dict)

    @property
    def output_dir(self) -> Path:
        """Where the run writes."""
        return Path(self.args.output_dir)

    @property
    def generation_config(self) -> GenerationConfig:
        """How the run's model is meant to generate: the plan's sampling and the run's stop tokens."""
        return generation_config(self.plan, self.tokenizer, self.renderer)

    @contextmanager
    def answering_as(self, role: str) -> Iterator[PreTrainedModel]:
        """The model of a role that does not learn, ready to answer: the policy with its tuner switched off, or another."""
        model = self.models[role]
        if model is not self.models["policy"]:
            yield model
            return
        was_training = model.training
        try:
            with self.tuner.without(model.eval()):
                yield model
        finally:
            model.train(was_training)

    def save_model(self, folder: Path) -> None:
        """Write the policy as its tuner does, its value head where it has one, and the tokenizer.

        Every process calls it; the first one writes.
        """
        policy = self.models["policy"]
        policy.config.use_cache = True  # training switches it off; whoever loads the result wants to generate
        added = not loading.saves_model(self.plan, self.plugins)
        try:
            with no_bars(), self.strategy.whole(policy, added=added):
                if self.args.should_save:
                    self._write_model(policy, folder)
        finally:
            policy.config.use_cache = self.args.use_cache

    def _write_model(self, policy: PreTrainedModel, folder: Path) -> None:
        with head_aside(policy) as head:
            self.tuner.save(policy, folder)
        if head is not None:
            write_value_head(head.state_dict(), folder)
        if self.changes is not None and not loading.saves_model(self.plan, self.plugins):
            self.changes.write(folder)
        self.save_tokenizer(folder)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer with the chat template that training rendered with, and the model's processor beside it."""
        self.tokenizer.save_pretrained(folder)
        copy_processor(Path(self.tokenizer.name_or_path), folder)
        if self.renderer is not None:
            write_text(folder / "chat_template.jinja", self.renderer.chat_template())

    def close(self) -> None:
        """Let go of models and data, and give memory back to the device. Safe to call twice."""
        self.models.clear()
        self.twin = None
        self.train_data, self.eval_data = None, {}
        for tracker in self.trackers:
            tracker.close()
        self.backend.empty_cache()


def open_session(plan: Plan, plugins: Plugins, prepared: Prepared) -> Session:
    """Make every live object that the plan calls for.

    In this order: training arguments, backend, quantizer arguments, accelerators before load, weights of each role,
    accelerators after load, tuner, accelerators after the tuner, tokenizer, renderer, data.

    :raises TunesmithError: something does not fit; found before weights are read wherever it can be.
    """
    session = _with_arguments(plan, plugins, prepared)
    with advised(session.backend):
        _fill(session)
    return session


def _fill(session: Session) -> None:
    plan, plugins, prepared = session.plan, session.plugins, session.prepared
    speak(plan)
    session.resume, session.fingerprints = _resume(session)
    set_seed(session.args.seed)
    session.backend.seed(session.args.seed)
    for accelerator in session.accelerators:
        accelerator.before_load(plan)
    session.renderer = _renderer(plan, plugins)
    session.models["policy"] = prepare_policy(session, plan.models["policy"], session.resume.folder if session.resume else None)
    _open_others(session, plan.models)
    policy = plan.models["policy"]
    session.tokenizer = loading.load_tokenizer(plan, policy)
    session.train_data = _train_data(session) if session.args.do_train else None
    session.eval_data = {name: TokenStore.open(path) for name, path in prepared.evals.items()}
    session.models["policy"].generation_config = session.generation_config


def _train_data(session: Session) -> TokenStore | StreamedRows | None:
    prepared = session.prepared
    if prepared.stream is None:
        return TokenStore.open(prepared.train) if prepared.train is not None else None
    rows = StreamedRows(prepared.stream, session.args)
    if session.resume is not None:
        rows.load(session.resume.folder)
    return rows


# ---- parts and arguments ---------------------------------------------------------------------------------------------


def _with_arguments(plan: Plan, plugins: Plugins, prepared: Prepared) -> Session:
    trainer: Trainer = next(_made(plan, plugins, "trainers"))
    backend: Backend = next(_made(plan, plugins, "backends"))
    strategy: Strategy = next(_made(plan, plugins, "strategies"))
    accelerators = _in_order(plan, plugins)
    optimizer: Optimizer | None = next(_made(plan, plugins, "optimizers"), None)
    demands = [Demand(f"the backend {plan.the('backends').name}", backend.arguments())]
    demands += [Demand(f"the strategy {plan.the('strategies').name}", strategy.arguments())]
    demands += [Demand(f"the accelerator {name}", one.arguments(plan)) for name, one in accelerators]
    if optimizer is not None:
        demands.append(Demand(f"the optimizer {plan.the('optimizers').name}", optimizer.arguments(plan)))
    return Session(
        plan=plan,
        plugins=plugins,
        prepared=prepared,
        trainer=trainer,
        args=build_arguments(plan, trainer.arguments_class(), demands, _home(plan, plugins, backend)),
        backend=backend,
        strategy=strategy,
        accelerators=tuple(one for _, one in accelerators),
        losses={name: loss for _, one in accelerators for name, loss in one.losses().items()},
        tuner=next(_made(plan, plugins, "tuners")),
        optimizer=optimizer,
        callbacks=tuple(_made(plan, plugins, "callbacks")),
        trackers=tuple(_made(plan, plugins, "trackers")),
    )


def _home(plan: Plan, plugins: Plugins, backend: Backend) -> Home:
    spec = plugins.backends.get(plan.the("backends").wanted).spec
    return Home(backend.device(loading.local_rank()), spec.process_group)


def _made(plan: Plan, plugins: Plugins, axis: str) -> Iterator[Any]:
    return (plugins.axis(axis).get(chosen.wanted).load()(plan) for chosen in plan.picked(axis))


def _in_order(plan: Plan, plugins: Plugins) -> list[tuple[str, Accelerator]]:
    offers = [plugins.accelerators.get(chosen.wanted) for chosen in plan.picked("accelerators")]
    return [(offer.spec.name, offer.load()(plan)) for offer in sorted(offers, key=lambda offer: offer.spec.order)]


# ---- resume ----------------------------------------------------------------------------------------------------------


def _resume(session: Session) -> tuple[Checkpoint | None, dict[str, str]]:
    plan = session.plan
    folder = loading.model_folder(plan, str(plan.models["policy"].path))
    now = fingerprints(plan, session.plugins, folder, data_hash(session.prepared), _renderer(plan, session.plugins))
    checkpoint = first_decides(session.args, lambda: _find_checkpoint(session))
    if checkpoint is not None:
        check_drift(checkpoint, now, plan)
        check_processes(checkpoint, plan, session.args.world_size, _strategy(session).resumes)
        log.log(logging.WARNING if session.args.process_index == 0 else logging.DEBUG, "Going on from %s.", checkpoint.folder)
    return checkpoint, now


def _strategy(session: Session) -> StrategySpec:
    spec: StrategySpec = session.plugins.strategies.get(session.plan.the("strategies").wanted).spec
    return spec


def _find_checkpoint(session: Session) -> Checkpoint | None:
    plan, asked = session.plan, session.plan["resume_from_checkpoint"]
    clean_up(session.output_dir)
    if not session.args.do_train:
        return None
    if started_again():
        asked = written_before(session.output_dir, read=not _strategy(session).pickles or plan["trust_checkpoint"]) or asked
    if not asked:
        return None
    wanted = True if str(asked).lower() == "true" else str(asked)
    return find_checkpoint(session.output_dir, wanted, trust=plan["trust_checkpoint"])


def _renderer(plan: Plan, plugins: Plugins) -> Renderer | None:
    """The run's renderer; stages that learn from plain documents have none."""
    kinds = {kind for chosen in plan.picked("trainers") for kind in plugins.trainers.get(chosen.wanted).spec.wants}
    if kinds == {"document"}:
        return None
    renderer: Renderer = make_renderer(plan, plugins, loading.model_folder(plan, str(plan.models["policy"].path)))
    return renderer


# ---- models ----------------------------------------------------------------------------------------------------------


def _open_others(session: Session, wishes: Mapping[str, ModelWish]) -> None:
    """Open the models that do not learn."""
    for role, wish in wishes.items():
        if role == "policy":
            continue
        if wish.base_of is None:
            model = loading.load_model(
                session.plan, session.plugins, wish, session.backend, training=False, placement=_placement(session)
            )
            for accelerator in session.accelerators:
                model = accelerator.after_load(model)
            session.models[role] = model.requires_grad_(False).eval()
        elif _is_twin(session, wish):
            session.models[role] = _other_twin(session, role, wish)
        else:
            session.models[role] = session.models[wish.base_of]


def _is_twin(session: Session, wish: ModelWish) -> bool:
    """Whether a role shares the policy's weights, not its modules: an adapter of its own, or a tuner that cannot be off."""
    chosen = session.plan.the("tuners")
    disables = session.plugins.tuners.get(chosen.wanted).spec.disables
    return wish.base_of is not None and (bool(wish.adapters) or not disables)


def _other_twin(session: Session, role: str, wish: ModelWish) -> PreTrainedModel:
    twin, plan = session.twin, session.plan
    assert twin is not None
    twin.check()
    adapter = loading.adapter_folder(plan, wish.adapters[0]) if wish.adapters else None
    return loading.finish_frozen(plan, session.plugins, wish, twin.another(), adapter)


def _placement(session: Session) -> dict[str, Any]:
    return session.strategy.placement(session.backend.device(loading.local_rank()))


def prepare_policy(session: Session, wish: ModelWish, saved: Path | None) -> PreTrainedModel:
    """The model that learns: weights, accelerators, tuner, number formats.

    :param saved: a checkpoint whose weights to take.
    """
    plan, plugins, tuner = session.plan, session.plugins, session.tuner
    whole = loading.saves_model(plan, plugins)
    session.fresh = False
    if saved is not None and whole:
        wish = replace(wish, path=str(saved))
        model = loading.load_base(plan, plugins, wish, session.backend, training="exactly", placement=_placement(session))
    else:
        model = loading.load_model(plan, plugins, wish, session.backend, training=True, placement=_placement(session))
    session.changes = None if saved is not None and whole else _changed(session, wish, model, saved)
    if wish.packed:
        loading.freeze_packed(model)
    for accelerator in session.accelerators:
        model = accelerator.after_load(model)
    if session.renderer is not None and session.renderer.media is not None:
        settle_media(model, session.renderer.media, session.args.world_size)
    session.twin = Twin.of(model) if any(_is_twin(session, other) for other in plan.models.values()) else None
    model = _applied(session, model, saved) if whole else _with_adapter(session, wish, model, saved)
    hold_still(model)
    if wish.head == "value":
        add_value_head(model, saved or loading.value_head_folder(plan, wish))
    if not session.strategy.holds_formats():
        precision.settle(model, plan, session.backend, adapter=not whole)
    upcast(model, plan)
    for accelerator in session.accelerators:
        model = accelerator.after_tuner(model)
    for line in (*tuner.describe(model), *listing(model, plan)):
        log.info(line)
    return session.strategy.share(model)


def _changed(session: Session, wish: ModelWish, model: PreTrainedModel, saved: Path | None) -> BaseChanges | None:
    """Give the model the rows that the run's tokens need, or those that the adapter it goes on with was learned over."""
    plan = session.plan
    _, last = loading.split_adapters(plan, session.plugins, wish, training=True)
    folder = saved or last
    change_rows(model, folder)
    read = saved is None and grows(plan)
    rows = grow(model, loading.read_tokenizer(plan, wish), plan) if read else NO_ROWS
    return changes_of(model, plan, folder, rows)


def _applied(session: Session, model: PreTrainedModel, saved: Path | None) -> PreTrainedModel:
    session.fresh = saved is None
    return session.tuner.apply(model)


def _with_adapter(session: Session, wish: ModelWish, model: PreTrainedModel, saved: Path | None) -> PreTrainedModel:
    plan, plugins, tuner = session.plan, session.plugins, session.tuner
    _, last = loading.split_adapters(plan, plugins, wish, training=True)
    if saved is not None:
        return tuner.load(model, saved, trainable=True)
    if last is None:
        return _applied(session, model, saved)
    own = plugins.tuners.get(plan.the("tuners").wanted).spec
    if not any(bears(last, mark) for mark in own.marks):
        wrote = loading.spec_of(plugins, last).name
        hint = f"Write finetuning_type: {wrote}, or export the merged model first."
        raise TunesmithError(f"{last} holds a {wrote} adapter, with which {own.name} cannot go on.", hint)
    return tuner.load(model, last, trainable=True)


def reload_policy(session: Session, saved: Path) -> PreTrainedModel:
    """The policy anew, with the weights of one of this run's checkpoints; the old one is let go of first."""
    old = session.models.pop("policy", None)
    if old is not None:
        let_go(old)
    session.backend.empty_cache()
    sharing = {role: wish for role, wish in session.plan.models.items() if wish.base_of == "policy"}
    for role in sharing:
        session.models.pop(role, None)
    model = session.models["policy"] = prepare_policy(session, session.plan.models["policy"], saved)
    _open_others(session, sharing)
    model.generation_config = session.generation_config
    return model
