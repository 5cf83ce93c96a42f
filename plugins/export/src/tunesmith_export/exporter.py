"""A model in plain weights with everything that belongs beside them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Exporter, Renderer
from tunesmith.model_heads import VALUE_HEAD
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.durable_files import open_as_usual, write_json, write_text
from tunesmith.runtime.loading import load_base, model_folder, value_head_folder
from tunesmith.runtime.stopping import DRAWING, stop_ids
from tunesmith.templates.media_renderer import copy_processor

from tunesmith_export import weight_files
from tunesmith_export.answers import Answers, Difference, answers, difference
from tunesmith_export.by_layer import LayerRoad, check, prepare
from tunesmith_export.card import model_card
from tunesmith_export.device import Processor
from tunesmith_export.merging import Merge, find_adapters, merge_all
from tunesmith_export.options import ExportOptions
from tunesmith_export.whole import whole_model_reason
from tunesmith_export.words import Words, words_of

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

REPORT = "export_report.json"
#: How far what is read back may be from what was written, as a share of the spread: the same numbers, so next to nothing.
READ_BACK = 1e-4


@dataclass(frozen=True)
class Written:
    """A merged model: its class and configuration, what was merged, and what it answers where it was asked."""

    model: PreTrainedModel
    merges: list[Merge]
    now: Answers | None


class SafetensorsExporter(Exporter):
    """Merges what the plan names and writes sharded safetensors, tokenizer, template, model card and Modelfile."""

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(ExportOptions)
        local = Path(plan.local) if plan.local else None
        self._plugins = Plugins(without=plan.without, only=plan.only, local=local)

    def export(self, plan: Plan, directory: Path) -> Mapping[str, Any]:
        """Write the whole model into ``directory``, read it back, and report.

        :raises TunesmithError: an adapter cannot be merged, or a check failed.
        """
        backend, adapters = self._backend(plan), find_adapters(plan, self._plugins, plan.models["policy"].adapters)
        words = words_of(plan, self._plugins, plan.models["policy"])
        road, why = self._road(plan, backend, [folder for folder, _ in adapters])
        merge = self._merge_whole if road is None else partial(self._merge, road)
        written = merge(plan, backend, words, directory)
        facts = {**self._beside(plan, directory, written.model, words), "whole": why if adapters else ""}
        now, merges = written.now, written.merges
        del written, road
        back = self._read_back(plan, backend, directory, words, now) if now is not None else None
        report = {**facts, **_checks(merges, back)}
        write_text(directory / "README.md", model_card(report))
        write_json(directory / REPORT, report)
        return report

    # -- merging -------------------------------------------------------------------------------------------------------

    def _road(self, plan: Plan, backend: Backend, adapters: Sequence[Path]) -> tuple[LayerRoad | None, str]:
        """How to merge layer by layer, or nothing and why the whole model is needed."""
        if why := whole_model_reason(plan, self._plugins):
            return None, why
        road = prepare(plan, self._plugins, plan.models["policy"], backend, adapters)
        why = road.obstacle()
        return (None, why) if why else (road, "")

    def _merge_whole(self, plan: Plan, backend: Backend, words: Words, directory: Path | None) -> Written:
        """Everything in memory, asked before and after each merge where the export is verified."""
        model = load_base(plan, self._plugins, plan.models["policy"], backend, training=False)
        model, merges, now = merge_all(plan, self._plugins, model, words.prompts if self._options.export_verify else ())
        if directory is not None:
            _settle(plan, model, words)
            model.save_pretrained(directory, max_shard_size=self._options.export_size * weight_files.GB)
        return Written(model, merges, now)

    def _merge(self, road: LayerRoad, plan: Plan, backend: Backend, words: Words, directory: Path) -> Written:
        """Layer by layer; where the export is verified, a model in memory has said before what is to come out."""
        adapters = find_adapters(plan, self._plugins, plan.models["policy"].adapters)
        merges, now = [Merge(str(folder), name) for folder, name in adapters], None
        if self._options.export_verify:
            asked = self._merge_whole(plan, backend, words, None)
            merges, now = asked.merges, asked.now
            del asked
        _settle(plan, road.shell, words)
        road.write(directory, self._options.export_size * weight_files.GB)
        for merge, tally in zip(merges, road.tallies, strict=True):
            if now is None:
                check(merge.adapter, tally)
        return Written(
            road.shell,
            [replace(one, weights=tally.changed, moved=tally.share) for one, tally in zip(merges, road.tallies, strict=True)],
            now,
        )

    def _backend(self, plan: Plan) -> Backend:
        if self._options.export_device == "cpu":
            return Processor(plan)
        backend: Backend = self._plugins.backends.get(plan.the("backends").wanted).load()(plan)
        return backend

    # -- writing and reading back --------------------------------------------------------------------------------------

    def _beside(self, plan: Plan, directory: Path, model: PreTrainedModel, words: Words) -> dict[str, Any]:
        """Write what belongs beside the weights, and say what the folder holds."""
        words.tokenizer.padding_side = "left"  # to generate, not to train
        words.tokenizer.chat_template = words.renderer.chat_template()
        words.tokenizer.save_pretrained(directory)
        for source in (model_folder(plan, str(plan.models["policy"].path)), words.home):  # adapters of others have none
            copy_processor(source, directory)
        write_text(directory / "chat_template.jinja", words.renderer.chat_template())
        omitted = _write_modelfile(directory / "Modelfile", words.renderer)
        if (head := value_head_folder(plan, plan.models["policy"])) is not None:
            shutil.copyfile(head / VALUE_HEAD, directory / VALUE_HEAD)
        open_as_usual(directory)
        return {
            "format": plan.the("exporters").name,
            "base": public_name(str(plan.models["policy"].path)),
            "architecture": type(model).__name__,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "dtype": str(model.dtype).removeprefix("torch."),
            "files": {file.name: file.stat().st_size for file in sorted(directory.glob("*.safetensors"))},
            "template": words.renderer.name,
            "omitted": omitted,
        }

    def _read_back(self, plan: Plan, backend: Backend, directory: Path, words: Words, now: Answers) -> Difference:
        wish = ModelWish("policy", str(directory))
        model = load_base(plan, self._plugins, wish, backend, training=False)
        found = difference(now, answers(model, words.prompts))
        if not found.typical <= READ_BACK:
            raise TunesmithError(f"Read back, the exported model answers differently: logits are off by {found.typical:.2g}.")
        return found


def _write_modelfile(file: Path, renderer: Renderer) -> dict[str, str]:
    """Write the Modelfile; a template that Ollama's language cannot express is reported instead."""
    try:
        lines = renderer.ollama()
    except TunesmithError as error:
        return {file.name: f"{error.message} {error.hint}".strip()}
    write_text(file, f"# ollama create NAME -f Modelfile\nFROM .\n\n{lines}")
    return {}


def _settle(plan: Plan, model: PreTrainedModel, words: Words) -> None:
    """The model's own way of generating, with the stop tokens of its template and whatever the user gave."""
    model.config.use_cache = True
    config, tokenizer = model.generation_config, words.tokenizer
    if config is None:  # it rates texts
        return
    own = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    ends = [*stop_ids(tokenizer, words.renderer), *(end for end in own if end is not None)]
    config.eos_token_id = list(dict.fromkeys(ends))
    config.pad_token_id = tokenizer.pad_token_id
    config.update(**{key: setting.value for key, setting in plan.settings.items() if setting.given and hasattr(config, key)})
    _settle_drawing(config)


def _settle_drawing(config: GenerationConfig) -> None:
    """transformers writes no configuration that says how to draw tokens and not that they are drawn."""
    drawn = {key: None for key in DRAWING if getattr(config, key) is not None}
    if config.do_sample is False:
        config.update(**drawn)
    elif drawn:
        config.do_sample = True


def _checks(merges: Sequence[Merge], written: Difference | None) -> dict[str, Any]:
    listed = [{**asdict(merge), "adapter": public_name(merge.adapter)} for merge in merges]
    return {"verified": written is not None, "adapters": listed, "read_back": asdict(written) if written else None}


def public_name(path: str) -> str:
    """A hub name as it is; of a folder only its last part, so that no path of this machine is published."""
    return path if not Path(path).is_absolute() and not Path(path).exists() else Path(path).resolve().name
