"""The tuner ``lora``, by peft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from tunesmith import TunesmithError
from tunesmith.contracts import Tuner
from tunesmith.layer_merge import LayerMerge
from tunesmith.runtime.loading import model_folder

from tunesmith_lora.attaching import fold_in, learning_share, put_on, task_of
from tunesmith_lora.by_layer import pieces
from tunesmith_lora.fitting import fit
from tunesmith_lora.folder import read_config, write_adapter
from tunesmith_lora.groups import loraplus_groups
from tunesmith_lora.loftq import start_from_loss
from tunesmith_lora.options import DATA_DRIVEN, MOVING, UNCONVERTED, LoraOptions
from tunesmith_lora.patterns import ALL
from tunesmith_lora.start import Start
from tunesmith_lora.targets import Targets, expert_weights, find_targets, shares_weight, shorten

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan


class LoraTuner(Tuner):
    """Adds low-rank updates (Hu et al. 2021, arXiv:2106.09685) beside weights that stay as they are."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._options = plan.options(LoraOptions)
        self._start: Start | None = None

    # -- putting it on, from nothing or from a folder ----------------------------------------------------------------

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Add an update to each target; nothing but the updates and ``additional_target`` learns.

        :raises TunesmithError: a target matches nothing, or cannot have an update; the message lists what is there.
        """
        targets = find_targets(model, self._options)
        self._check_ranks(model, targets)
        tuned = get_peft_model(model, self._config(model, targets))
        method = self._options.method
        if method == "loftq":
            start_from_loss(tuned, model_folder(self._plan, str(self._plan["model_name_or_path"])))
        self._start = Start.of(tuned) if method in MOVING and method not in DATA_DRIVEN else None
        return tuned

    def initialize(self, model: PreTrainedModel, examples: Iterable[Any], loss: Callable[[Any], torch.Tensor]) -> None:
        """Fit the updates to the data, where ``lora_init`` names a start that looks at it."""
        method = self._options.method
        if method not in DATA_DRIVEN:
            return
        fit(model, method, self._options, examples, loss)
        self._start = Start.of(model) if method in MOVING else None

    def load(self, model: PreTrainedModel, path: Path, *, trainable: bool) -> PreTrainedModel:
        """Put the adapter in ``path`` on ``model``; its own rank, scale and targets hold, whatever the options say.

        :raises TunesmithError: there is no such adapter in ``path``, or it fits another model.
        """
        folder = path / UNCONVERTED if trainable and (path / UNCONVERTED).is_dir() else path
        config, self._start = read_config(folder, LoraConfig), Start.read(folder)
        config.inference_mode = not trainable
        begun = config.init_lora_weights
        if begun != "mica":  # which needs a kind of layer of its own
            config.init_lora_weights = True  # peft would decompose the weights anew, and at random
        tuned = put_on(model, folder, config, trainable=trainable)
        config.init_lora_weights = begun
        if self._start is not None:
            self._start.take_out(tuned)
        return tuned

    def _config(self, model: PreTrainedModel, targets: Targets) -> LoraConfig:
        options = self._options
        return LoraConfig(
            r=options.lora_rank,
            lora_alpha=2 * options.lora_rank if options.lora_alpha is None else options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules=shorten(model, targets.modules),
            target_parameters=list(targets.parameters) or None,
            modules_to_save=list(targets.saved) or None,
            ensure_weight_tying=bool(targets.saved) and shares_weight(model),
            rank_pattern=dict(options.lora_rank_pattern or {}),
            alpha_pattern=dict(options.lora_alpha_pattern or {}),
            use_rslora=options.use_rslora,
            use_dora=options.use_dora,
            layer_replication=options.replication,
            init_lora_weights=self._init(),
            task_type=task_of(model),
        )

    def _init(self) -> Any:
        """What peft is to do itself; starts that look at the data come later, from the usual one."""
        method = self._options.method
        if method == "pissa":
            return "pissa" if self._options.pissa_iter == -1 else f"pissa_niter_{self._options.pissa_iter}"
        return True if method in ("default", "loftq", *DATA_DRIVEN) else method

    def _check_ranks(self, model: PreTrainedModel, targets: Targets) -> None:
        """Starts that take directions from a weight cannot take more than it has; LoRA-GA takes two for each rank."""
        method, rank = self._options.method, self._options.lora_rank
        if method not in (*MOVING, "mica", "eva"):
            return
        for name in targets.modules:
            least = min(model.get_submodule(name).weight.shape)
            most = least // 2 if method == "lora_ga" else least
            if rank > most:
                message = f"lora_init: {method} cannot give {name} an update of rank {rank}: its weight has rank {least}."
                raise TunesmithError(message, f"Write lora_rank: {most} or less, or leave {name} out of lora_target.")

    # -- keeping it, folding it in, switching it off -----------------------------------------------------------------

    def save(self, model: PreTrainedModel, directory: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``, and where an adapter that moved weights started.

        Other programs know PiSSA's start or believe they do; of the others what is written for them is a plain adapter.
        """
        begun = str(model.peft_config["default"].init_lora_weights)
        convert = self._options.pissa_convert or not begun.startswith("pissa")
        write_adapter(model, directory, self._start, convert=convert)

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Add the updates to the weights and return the plain model.

        :raises TunesmithError: the sum is not a number somewhere, or layers that share weights would need different ones.
        """
        if model.peft_config["default"].layer_replication:
            raise TunesmithError(
                "An adapter over repeated layers cannot be merged: they share the weights it would be added to.",
                "Serve it beside its model instead.",
            )
        return fold_in(model)

    def layer_merges(self, model: PreTrainedModel) -> Iterator[LayerMerge]:
        """One piece for each layer that has something of this adapter."""
        return pieces(model)

    @contextmanager
    def without(self, model: PreTrainedModel) -> Iterator[None]:
        """Within it, ``model`` answers as its base would."""
        with self._start.in_place(model) if self._start is not None else model.disable_adapter():
            yield

    def continues(self) -> bool:
        """Whether the last given adapter goes on learning: unless ``create_new_adapter`` asks for a new one."""
        return not self._options.create_new_adapter

    # -- learning it -------------------------------------------------------------------------------------------------

    def param_groups(self, model: PreTrainedModel) -> list[dict[str, Any]] | None:
        """LoRA+'s groups, when ``loraplus_lr_ratio`` is given."""
        if self._options.loraplus_lr_ratio is None:
            return None
        decay = self._plan["weight_decay"] if "weight_decay" in self._plan.settings else 0.0
        return loraplus_groups(model, self._options, float(self._plan["learning_rate"]), float(decay))

    def describe(self, model: PreTrainedModel) -> list[str]:
        """Where the updates sit, how much learns, and which matrices were left out although ``all`` was asked for."""
        found = Counter(_shown(name) for name, module in model.named_modules() if _is_updated(module))
        config = model.peft_config["default"]
        places = ", ".join(f"{name} (×{count})" for name, count in found.items())
        lines = [
            f"updates of rank {config.r}, alpha {config.lora_alpha:g}, on {sum(found.values())} places: {places}",
            learning_share(model),
        ]
        if config.modules_to_save:
            lines.append(f"learning in full: {', '.join(sorted(config.modules_to_save))}")
        frozen = {".".join(name.split(".")[-2:]) for name in expert_weights(model.get_base_model()) if "lora_" not in name}
        if frozen and not config.target_parameters and ALL in self._options.lora_target:
            lines.append(
                f"fused experts stay frozen ({', '.join(sorted(frozen))}); lora_target_parameters: all lets them learn"
            )
        return lines


def _is_updated(module: Any) -> bool:
    return isinstance(module, LoraLayer) and bool(module.active_adapters)


def _shown(name: str) -> str:
    """The last word of a layer's name; wrappers around fused weights are called after what they wrap."""
    return next(word for word in reversed(name.split(".")) if word != "base_layer")
