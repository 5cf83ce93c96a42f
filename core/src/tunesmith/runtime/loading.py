"""Models and tokenizers from disk: every weight accounted for, in the right number format, with adapters on top."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tunesmith.config import Setting
from tunesmith.contracts import Accelerator, Backend, Quantizer, Tuner
from tunesmith.data import tokens
from tunesmith.errors import TunesmithError, nearest
from tunesmith.model_folder import bears, check_pinned, quantization_of, read_json
from tunesmith.model_heads import has_value_head
from tunesmith.model_stores import place_in
from tunesmith.plan import ModelWish, Plan
from tunesmith.planning.attention import kernel_of
from tunesmith.plugins import Plugins
from tunesmith.runtime import base_changes, precision
from tunesmith.runtime.new_tokens import add_tokens
from tunesmith.runtime.value_head import add_value_head
from tunesmith.spec import options_of
from tunesmith.specs import TunerSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def local_rank() -> int:
    """This process's number among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


# ---- where and what --------------------------------------------------------------------------------------------------


def model_folder(plan: Plan, path: str) -> Path:
    """The folder of a model or adapter; :func:`tunesmith.launch.fetch` has brought it here.

    :raises TunesmithError: it is not on this machine.
    """
    return place_in(plan, path).found()


def runs_own_code(plan: Plan, path: str, folder: Path) -> bool:
    """Whether code that comes with the model is run: only when it was asked for, is needed, and cannot change unseen.

    :raises TunesmithError: it was asked for and is not pinned.
    """
    config = read_json(folder, "config.json")
    if not plan["trust_remote_code"] or "auto_map" not in config or config.get("model_type") in CONFIG_MAPPING:
        return False
    check_pinned(path, plan["model_revision"])
    return True


def load_config(plan: Plan, path: str) -> PreTrainedConfig:
    """The model's configuration.

    :raises TunesmithError: transformers does not know this kind of model.
    """
    folder = model_folder(plan, path)
    plain = read_json(folder, "config.json")
    kind = plain.get("model_type")
    if kind is not None and kind not in CONFIG_MAPPING and "auto_map" not in plain:
        what = f"transformers {version('transformers')} knows no model of type {kind!r}, which {folder / 'config.json'} names."
        raise TunesmithError(what, nearest(kind, CONFIG_MAPPING) or "Upgrade transformers, or look at the model's card.")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=runs_own_code(plan, path, folder))
    except (ValueError, OSError) as error:
        raise TunesmithError(f"The model {path} cannot be loaded: {error}") from error
    return config


def load_tokenizer(plan: Plan, wish: ModelWish) -> PreTrainedTokenizerBase:
    """The tokenizer of a model with the tokens that the run adds, padding on the right, with a padding token in any case.

    :raises TunesmithError: there is none, or it cannot be read.
    """
    tokenizer = read_tokenizer(plan, wish)
    add_tokens(tokenizer, plan)
    return tokenizer


def read_tokenizer(plan: Plan, wish: ModelWish) -> PreTrainedTokenizerBase:
    """The same without the tokens that the run adds.

    :raises TunesmithError: there is none, or it cannot be read.
    """
    folder = tokens.tokenizer_folder(plan, wish)
    kwargs: dict[str, Any] = {"use_fast": plan["use_fast_tokenizer"], "trust_remote_code": tokens.runs_own_code(plan, folder)}
    if plan["split_special_tokens"]:
        kwargs["split_special_tokens"] = True
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, padding_side="right", **kwargs)
    except (ValueError, OSError, TypeError) as error:
        raise TunesmithError(f"{folder} holds no tokenizer that can be read: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


# ---- the weights -----------------------------------------------------------------------------------------------------


def load_model(
    plan: Plan,
    plugins: Plugins,
    wish: ModelWish,
    backend: Backend,
    *,
    training: bool,
    placement: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """A model with its adapters on its device.

    For inference all adapters but the last are merged and the last lies on top, unmerged. For training the base is returned
    with those merged that will not go on learning; the tuner's part is :func:`~tunesmith.runtime.session.prepare_policy`.

    :param placement: where the weights go, as arguments of ``from_pretrained``; nothing given: on this process's device.
    :raises TunesmithError: weights are missing, superfluous or damaged, or no installed tuner wrote an adapter.
    """
    merged, last = split_adapters(plan, plugins, wish, training=training)
    model = load_base(plan, plugins, wish, backend, training=training, placement=placement)
    for folder in merged:
        model = _merge_one(plan, plugins, model, folder)
    if training:
        return model
    model = finish_frozen(plan, plugins, wish, model, last)
    for accelerator in _at_work(plan, plugins, training):
        model = accelerator.after_tuner(model).to(backend.device(local_rank()))
    return model


def _at_work(plan: Plan, plugins: Plugins, training: object) -> Iterator[Accelerator]:
    """The run's accelerators: all of them on a model that learns, on others those that say so."""
    offers = (plugins.accelerators.get(chosen.wanted) for chosen in plan.picked("accelerators"))
    return (offer.load()(plan) for offer in offers if training or offer.spec.answers)


def finish_frozen(
    plan: Plan, plugins: Plugins, wish: ModelWish, model: PreTrainedModel, adapter: Path | None
) -> PreTrainedModel:
    """Put the last adapter on a model that will not learn, and its value head where it rates texts."""
    if adapter is not None:
        base_changes.change_rows(model, adapter)
        model = tuner_for(plan, plugins, adapter).load(model, adapter, trainable=False)
    if wish.head == "value":
        add_value_head(model, value_head_folder(plan, wish))
    return model.requires_grad_(False).eval()


def value_head_folder(plan: Plan, wish: ModelWish) -> Path | None:
    """The folder with the value head of a model: that of its last adapter that has one, else its own, else none."""
    path = wish.path if wish.base_of is None else plan.models[wish.base_of].path
    folders = [adapter_folder(plan, name) for name in reversed(wish.adapters)]
    return next(filter(has_value_head, [*folders, model_folder(plan, str(path))]), None)


def load_merged(plan: Plan, plugins: Plugins, wish: ModelWish, backend: Backend) -> PreTrainedModel:
    """As :func:`load_model` for inference, with every adapter folded in: plain weights.

    :raises TunesmithError: an adapter is of a kind that cannot be merged.
    """
    model = load_base(plan, plugins, wish, backend, training=False)
    for name in wish.adapters:
        model = _merge_one(plan, plugins, model, adapter_folder(plan, name))
    return model.requires_grad_(False).eval()


def _merge_one(plan: Plan, plugins: Plugins, model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    spec = spec_of(plugins, folder)
    if not spec.mergeable:
        raise TunesmithError(
            f"{folder} holds a {spec.name} adapter, which cannot be merged.", "Serve it beside its model instead."
        )
    tuner = tuner_for(plan, plugins, folder)
    base_changes.change_rows(model, folder)
    return tuner.merge(tuner.load(model, folder, trainable=False))


def split_adapters(plan: Plan, plugins: Plugins, wish: ModelWish, *, training: bool) -> tuple[list[Path], Path | None]:
    """The adapters to merge, and the last one where it stays an adapter: it serves, or goes on learning.

    :raises TunesmithError: some would have to be merged into quantised weights.
    """
    folders = [adapter_folder(plan, name) for name in wish.adapters]
    stays = bool(folders) and (not training or run_tuner(plan, plugins).continues())
    merged, last = (folders[:-1], folders[-1]) if stays else (folders, None)
    if wish.packed and merged:
        hint = "Give one adapter, or export the merged model first."
        raise TunesmithError("Adapters cannot be merged into quantised weights.", hint)
    return merged, last


def load_base(
    plan: Plan,
    plugins: Plugins,
    wish: ModelWish,
    backend: Backend,
    *,
    training: bool | Literal["exactly"],
    placement: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """The model's own weights, without adapters.

    :param training: ``"exactly"``: they were saved in the middle of training, and must come back bit for bit.
    :param placement: where they go, as arguments of ``from_pretrained``; nothing given: on this process's device.
    """
    device = backend.device(local_rank())
    placement = {"device_map": {"": device}} if placement is None else placement
    for accelerator in _at_work(plan, plugins, training):
        placement = accelerator.placement(placement)
    path = str(wish.path)
    folder = model_folder(plan, path)
    config = base_changes.changed_config(load_config(plan, path), plan, wish, training=training is True)
    own = config.dtype if isinstance(config.dtype, torch.dtype) else None
    kwargs: dict[str, Any] = {"trust_remote_code": runs_own_code(plan, path, folder), **attention(plan, plugins)}
    if training:
        adapter = not saves_model(plan, plugins)
        kwargs["dtype"] = precision.dtype_to_train(plan, backend, own, adapter=adapter, exact=training == "exactly")
    elif plan.command == "train":
        kwargs["dtype"] = precision.dtype_beside(plan, backend, own, adapter=not saves_model(plan, plugins))
    else:
        kwargs["dtype"] = precision.dtype_to_infer(plan, backend, own)
    kind = model_class(config, wish.head)
    if training is True and plan["train_from_scratch"]:
        model: PreTrainedModel = kind.from_config(config, **kwargs)
        model = model.to(device) if "device_map" in placement else model
    else:
        kwargs |= placement
        own_way = _by_accelerator(plan, plugins, folder, kwargs) if training else None
        source = (kind, folder, config, kwargs)
        model = own_way if own_way is not None else _read_quantized(plan, plugins, wish, source)
    return backend.replace_experts(model)


def _by_accelerator(plan: Plan, plugins: Plugins, folder: Path, kwargs: Mapping[str, Any]) -> PreTrainedModel | None:
    for chosen in plan.picked("accelerators"):
        offer = plugins.accelerators.get(chosen.wanted)
        if offer.spec.loads:
            accelerator: Accelerator = offer.load()(plan)
            return accelerator.load(folder, kwargs)
    return None


def _read_quantized(
    plan: Plan, plugins: Plugins, wish: ModelWish, source: tuple[Any, Path, Any, dict[str, Any]]
) -> PreTrainedModel:
    kind, folder, config, kwargs = source
    held = quantization_of(config.to_dict())
    if held and not wish.quantizer:
        what = f"{wish.path} holds weights quantised by {held['quant_method']}, which could not be known before it was fetched."
        raise TunesmithError(what, "Start the run again: it is on this machine now.")
    if not held and not wish.bits:  # plain, be it that this run made it so
        return read_weights(kind, folder, config, kwargs, head=wish.head)
    quantizer: Quantizer = plugins.quantizers.get(wish.quantizer).load()(plan)
    model = read_weights(kind, folder, config, {**kwargs, **quantizer.arguments(wish, kwargs["dtype"])}, head=wish.head)
    model = quantizer.after_load(model, wish)
    quantizer.check(model, wish)
    return model


def freeze_packed(model: PreTrainedModel) -> None:
    """Make a model whose weights are in few bits ready for a tuner: none of them learns, and gradients reach every layer.

    Layers whose activations are recomputed get a gradient only through an input that wants one, and peft leaves it to
    others to see to that where weights are quantised.
    """
    model.requires_grad_(False)
    model.enable_input_require_grads()


def model_class(config: PreTrainedConfig, head: str) -> Any:
    """The transformers class that reads this configuration with this head; a value head is added later."""
    if head == "score":
        return AutoModelForSequenceClassification
    known = type(config) in AutoModelForCausalLM._model_mapping or "AutoModelForCausalLM" in (
        getattr(config, "auto_map", None) or {}
    )
    return AutoModelForCausalLM if known else AutoModelForImageTextToText


def attention(plan: Plan, plugins: Plugins) -> dict[str, str]:
    """``flash_attn`` as transformers' argument."""
    wanted = kernel_of(plan["flash_attn"], plugins)
    if wanted is None:
        kinds = next((plugins.backends.get(one.wanted).spec.attention for one in plan.picked("backends")), ())
        # Where sdpa can be had, transformers takes it for every model that supports it, and eager for the others.
        return {} if not kinds or "sdpa" in kinds else {"attn_implementation": kinds[0]}
    return {"attn_implementation": wanted}


def read_weights(
    kind: Any, folder: Path, config: PreTrainedConfig, kwargs: Mapping[str, Any], *, head: str = "lm"
) -> PreTrainedModel:
    """``from_pretrained`` that accepts nothing but a complete fit of names and shapes.

    :raises TunesmithError: lists what is missing, superfluous or of another shape.
    """
    if head == "score":
        config.num_labels = 1
    try:
        model, info = kind.from_pretrained(
            folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True, **kwargs
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise TunesmithError(f"The weights in {folder} cannot be loaded: {error}") from error
    wrong = {
        "missing": sorted(info["missing_keys"]),
        "superfluous": sorted(info["unexpected_keys"]),
        "of another shape": sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]),
    }
    if listed := "; ".join(f"{word}: {_few(names)}" for word, names in wrong.items() if names):
        raise TunesmithError(
            f"The weights in {folder} do not fit {type(model).__name__}: {listed}.", "Get a complete copy of the model."
        )
    loaded: PreTrainedModel = model
    return loaded


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


# ---- adapters --------------------------------------------------------------------------------------------------------


def adapter_folder(plan: Plan, name: str) -> Path:
    """The folder of an adapter, ``adapter_folder`` inside it where one is given."""
    folder = model_folder(plan, name)
    return folder / plan["adapter_folder"] if plan["adapter_folder"] else folder


def spec_of(plugins: Plugins, folder: Path) -> TunerSpec:
    """The tuner that wrote what lies in ``folder``.

    :raises TunesmithError: none that is installed.
    """
    for offer in plugins.tuners:
        if any(bears(folder, mark) for mark in offer.spec.marks):
            return offer.spec
    marks = ", ".join(f"{mark.file} ({offer.spec.name})" for offer in plugins.tuners for mark in offer.spec.marks)
    raise TunesmithError(f"{folder} holds no adapter that an installed tuner wrote.", f"Looked for {marks}." if marks else "")


def tuner_for(plan: Plan, plugins: Plugins, folder: Path) -> Tuner:
    """The tuner that can load what lies in ``folder``; its own keys have their defaults where the plan has none."""
    spec = spec_of(plugins, folder)
    offer = next(offer for offer in plugins.tuners if offer.spec is spec)
    tuner: Tuner = offer.load()(_with_defaults(plan, options_of(spec), offer.owner.plugin))
    return tuner


def _with_defaults(plan: Plan, options: type | None, owner: str) -> Plan:
    if options is None:
        return plan
    made = options()
    settings = {item.name: Setting(getattr(made, item.name), "default", owner) for item in fields(made)}
    return replace(plan, settings={**settings, **plan.settings})


def run_tuner(plan: Plan, plugins: Plugins) -> Tuner:
    """The tuner that the run has picked."""
    tuner: Tuner = plugins.tuners.get(plan.the("tuners").wanted).load()(plan)
    return tuner


def saves_model(plan: Plan, plugins: Plugins) -> bool:
    """Whether the run's tuner writes whole models rather than what it added."""
    return plugins.tuners.get(plan.the("tuners").wanted).spec.saves == "model"
