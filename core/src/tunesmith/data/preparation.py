"""What preparing a run's data works with: its settings, tools, places, and one job to each dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tunesmith.contracts import Renderer, Source
from tunesmith.data.cache import Key, Places, rows_key, stream_key
from tunesmith.data.learning import Learning
from tunesmith.data.machines import waits_for_another
from tunesmith.data.tokens import Encoder, make_encoder, tokenizer_folder
from tunesmith.data.work import Wishes
from tunesmith.host_options import DataOptions
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins

#: Called with the name of a dataset and the rows read so far.
Progress: TypeAlias = Callable[[str, int], None]


@dataclass(frozen=True)
class Job:
    """One dataset of the run, ready to be prepared. ``take``: read so many rows from its beginning, all when ``None``."""

    dataset: DatasetPlan
    source: Source
    wishes: Wishes
    key: Key
    take: int | None


@dataclass(frozen=True)
class Preparation:
    """What the steps of preparing share. ``lenient``: bad rows are reported, and stop nothing."""

    plan: Plan
    plugins: Plugins
    options: DataOptions
    renderer: Renderer | None
    encoder: Encoder
    places: Places
    progress: Progress | None = None
    lenient: bool = False

    @classmethod
    def of(cls, plan: Plan, plugins: Plugins, progress: Progress | None = None, *, lenient: bool = False) -> Preparation:
        """With the tools and places of a plan."""
        options = plan.options(DataOptions)
        encoder, renderer = make_tools(plan, plugins)
        places = Places.of(options.tokenized_path, options.data_cache_dir)
        return cls(plan, plugins, options, renderer, encoder, places, progress, lenient)

    @property
    def packing(self) -> bool:
        """Whether rows are packed."""
        return bool(self.options.packing or self.options.neat_packing)

    @property
    def seed(self) -> int:
        """The seed of every choice made here."""
        return int(self.plan["seed"])

    @property
    def anew(self) -> bool:
        """Prepare although it was done before: asked for, and only by the first process of a machine that prepares."""
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        return self.options.overwrite_cache and first and not waits_for_another(self.plan)


def make_tools(plan: Plan, plugins: Plugins) -> tuple[Encoder, Renderer | None]:
    """The run's encoder and its renderer, which documents do not need.

    :raises TunesmithError: the model is not here, has no tokenizer, or no template fits.
    """
    if plan.datasets and all(dataset.kind == "document" for dataset in plan.datasets):
        return make_encoder(plan, None), None
    from tunesmith.templates import make_renderer

    renderer = make_renderer(plan, plugins, tokenizer_folder(plan))
    return make_encoder(plan, renderer), renderer


def make_job(preparation: Preparation, dataset: DatasetPlan, *, streamed: bool = False, first: int | None = None) -> Job:
    """What is to be done for one dataset, with the key of its rows.

    :param streamed: its rows will be read while they are learned, so that its files are not read for the key.
    :param first: take so many rows from its beginning, instead of as many as the run's options say.
    """
    options, plugins, renderer = preparation.options, preparation.plugins, preparation.renderer
    source: Source = plugins.sources.get(dataset.source).load()(dataset, preparation.plan)
    wishes = wishes_for(dataset, options, tools_of(preparation.plan, plugins))
    take = first or (None if dataset.entry.get("num_samples") else options.max_samples)
    read = {
        "template": renderer.fingerprint if renderer and dataset.kind != "document" else "",
        "tokenizer": preparation.encoder.fingerprint,
        "max_samples": take,
    }
    dataset = replace(dataset, version=dataset.version or source.version())
    files = () if streamed and dataset.version else source.files()
    key = (stream_key if streamed else rows_key)(dataset, files, plugins.formats.get(dataset.format), wishes, read)
    return Job(dataset, source, wishes, key, take)


def wishes_for(dataset: DatasetPlan, options: DataOptions, tools: tuple[Mapping[str, Any], ...] = ()) -> Wishes:
    """How the rows of a dataset are prepared; ``tools``: what a model may call that prompts declare."""
    learning = Learning(options.mask_history, options.train_on_prompt, tools)
    words = {str(word): str(text) for word, text in dataset.entry.get("placeholders", {}).items()}
    return Wishes(dataset.kind, options.cutoff_len, options.overflow, learning, words)


def tools_of(plan: Plan, plugins: Plugins) -> tuple[Mapping[str, Any], ...]:
    """What the run's prompts declare that a model may call: nothing where its stage calls nothing."""
    if "tools" not in plan.settings:
        return ()
    return tuple(plugins.tools.get(chosen.wanted).spec.declaration for chosen in plan.picked("tools"))


def run_key(preparation: Preparation, jobs: Sequence[Job]) -> Key:
    """Everything that the views of a run depend on."""
    options = preparation.options
    datasets: list[Mapping[str, object]] = [
        {
            "name": job.dataset.name,
            "split": job.dataset.split,
            "num_samples": job.dataset.entry.get("num_samples"),
            "rows": job.key,
        }
        for job in jobs
    ]
    return {
        "datasets": datasets,
        "mix_strategy": options.mix_strategy,
        "interleave_probs": list(options.interleave_probs),
        "max_samples": options.max_samples,
        "val_size": options.val_size,
        "eval_on_each_dataset": options.eval_on_each_dataset,
        "packing": preparation.packing,
        "seed": preparation.seed,
    }
