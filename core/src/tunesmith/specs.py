"""What plugins declare: one frozen, light description per thing offered.

Importing a spec never imports torch. ``load`` is ``"module:attribute"`` and is imported only when a run picks the spec.
Facts that the host or another plugin has to know are fields here, so that nobody ever asks ``if name == …``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tunesmith.device_specs import AcceleratorSpec as AcceleratorSpec
from tunesmith.device_specs import BackendSpec as BackendSpec
from tunesmith.media_specs import MediaSpec as MediaSpec
from tunesmith.quantizer_spec import QuantizerSpec as QuantizerSpec
from tunesmith.role_specs import POLICY as POLICY  # roles are part of what stages and commands declare
from tunesmith.role_specs import Role as Role
from tunesmith.spec import Spec as Spec
from tunesmith.spec import Switch as Switch
from tunesmith.spread_specs import LauncherSpec as LauncherSpec
from tunesmith.spread_specs import Scene as Scene
from tunesmith.spread_specs import StrategySpec as StrategySpec

ExampleKind: TypeAlias = Literal["conversation", "preference", "feedback", "document", "prompt"]


@dataclass(frozen=True)
class CommandSpec(Spec):
    """A subcommand of ``tunesmith``; ``load`` names a ``click.Command``.

    :param section: its heading in ``--help``.
    :param picks: the axes that its plan picks from, empty for commands without a plan.
    :param requires: the keys without which it cannot be carried out; a plan lists them as missing.
    :param roles: the models it works with, where no stage says it.
    :param wants: the kinds of example that it reads from datasets, where no stage says it.
    :param packs: the key that says in how many bits it writes its model, with the quantizer that ``quantization_method`` names.
    :param packs_with: that quantizer where nobody names one.
    :param calibrates: the key that names the datasets which that quantizer looks at, if it looks at any.
    """

    section: str = "More commands"
    picks: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    roles: tuple[Role, ...] = (POLICY,)
    wants: tuple[ExampleKind, ...] = ()
    packs: str = ""
    packs_with: str = ""
    calibrates: str = ""


@dataclass(frozen=True)
class SourceSpec(Spec):
    """Where rows come from, and perhaps models.

    :param key: the key of ``dataset_info.json`` that asks for it (``file_name``, …).
    :param files: ``"module:function"`` that lists the local files of an entry while planning, from the entry and the folder of
        its ``dataset_info.json``, and says which one is not there; empty for a source that has none.
    :param switch: the key that makes it the first choice for datasets that lie in several places, and the place of models
        that are named ``organisation/model``.
    :param schemes: models whose names begin with one of these and ``://`` come from here.
    :param models: ``"module:attribute"`` of its :class:`~tunesmith.contracts.ModelStore`; empty where it holds no models.
    """

    key: str = ""
    files: str = ""
    switch: Switch | None = None
    schemes: tuple[str, ...] = ()
    models: str = ""


@dataclass(frozen=True)
class FormatSpec(Spec):
    """How a row becomes an example (``formatting`` in ``dataset_info.json``).

    ``columns`` and ``tags`` hold the default names, which an entry of ``dataset_info.json`` overrides one by one.
    ``required`` are the columns that a row must have, by kind of example. ``default``: reads entries without ``formatting``.
    """

    yields: tuple[ExampleKind, ...] = ()
    columns: Mapping[str, str | None] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    required: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: bool = False


@dataclass(frozen=True)
class TemplateSpec:
    """How a conversation becomes a model's text: table ``table`` of the TOML file ``file``, read when a run picks it.

    ``models`` are shell-style patterns of model names, a hint for suggestions and never a silent choice.
    """

    name: str
    file: str
    table: str
    summary: str = ""
    models: tuple[str, ...] = ()
    load: str = "tunesmith.templates.parse:read_template"
    options: type | None = None
    needs: tuple[str, ...] = ()
    stack: str | None = None


@dataclass(frozen=True)
class ToolSyntaxSpec(Spec):
    """How tool declarations, calls and results are written, and read back from generated text."""


@dataclass(frozen=True)
class ModelCatalogueSpec:
    """Published model names and the template that each was trained with, for suggestions and warnings, never a silent choice.

    ``file`` is a CSV file with the columns ``model`` (the name people know), ``template`` (empty where there is none, as with
    base models) and one column to each hub with the model's name there; :mod:`tunesmith.model_names` reads it.
    """

    name: str
    file: str
    summary: str = ""
    load: str = "tunesmith.model_names:read_catalogue"
    options: type | None = None
    needs: tuple[str, ...] = ()
    stack: str | None = None


@dataclass(frozen=True)
class AdapterMark:
    """How a folder shows that this tuner wrote it: ``file`` is there and, with ``key``, says ``value``."""

    file: str
    key: str = ""
    value: str = ""


@dataclass(frozen=True)
class TunerSpec(Spec):
    """Which weights learn and how they are saved (``finetuning_type``).

    :param saves: ``"model"`` writes whole weights, ``"adapter"`` only what was added.
    :param marks: how a folder that it saved is recognised, for ``adapter_name_or_path`` and export.
    :param mergeable: the result can be folded into plain weights.
    :param over_quantized: can train on top of quantised weights, whatever holds them; or the kinds of layers that it can do it
        with, as :class:`QuantizerSpec` calls them.
    :param disables: with the tuner's part switched off the model equals its base, so that it can be its own reference.
    :param by_layer: ``"module:function"``, called while planning as ``function(folder)`` with the folder of an adapter: why it
        cannot be merged layer by layer (:meth:`tunesmith.contracts.Tuner.layer_merges`), else ``""``. Empty: it never can.
    :param starts_anew: the key with which the given adapters are merged and a new one begins; empty where the last one always
        goes on learning.
    :param trainable: ``"module:function"``, called while planning as ``function(shapes, plan)`` with the shape of every
        weight by name: how many numbers will learn. Without torch. All of them where empty.
    """

    saves: Literal["model", "adapter"] = "model"
    marks: tuple[AdapterMark, ...] = ()
    mergeable: bool = True
    by_layer: str = ""
    over_quantized: bool | tuple[str, ...] = False
    disables: bool = False
    starts_anew: str = ""
    trainable: str = ""


@dataclass(frozen=True)
class TrainerSpec(Spec):
    """What is learned from what (``stage``).

    :param wants: the kinds of example it can learn from; a dataset that yields none of them is a plan error.
    :param roles: the models it works with, the policy first. :mod:`tunesmith.roles` has those that several stages share.
    :param defaults: the stage's own defaults for keys that somebody else owns; shown as such in the plan.
    :param router_loss: it learns from the loss that a mixture of experts has for its router (``aux_loss`` of its output).
    """

    wants: tuple[ExampleKind, ...] = ()
    roles: tuple[Role, ...] = (POLICY,)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    router_loss: bool = False


@dataclass(frozen=True)
class RewardSpec(Spec):
    """A function that scores completions, named in ``reward_funcs``."""


@dataclass(frozen=True)
class ToolSpec(Spec):
    """Something that a model may call while it answers, named in ``tools``.

    :param description: what the model is told of it.
    :param parameters: its arguments as a JSON schema of the type ``object``.
    """

    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @property
    def declaration(self) -> Mapping[str, Any]:
        """As prompts declare it: an OpenAI tool object."""
        facts = {"name": self.name, "description": self.description or self.summary, "parameters": dict(self.parameters)}
        return {"type": "function", "function": facts}


@dataclass(frozen=True)
class OptimizerSpec(Spec):
    """An optimizer beyond transformers' own, turned on by ``switch``; a value of ``optim`` can be one.

    :param whole_weights: it moves the model's own weights, and makes no sense over a tuner that adds some and saves those.
    :param states: ``"module:function"``, called while planning as ``function(shapes, value)`` with the shape of every weight
        by name and flat key → value: how many numbers it keeps for each number that learns. Adam's two where empty.
    :param strategies: names of strategies whose parts of weights, or of its own state, it can work on.
    """

    switch: Switch | None = None
    whole_weights: bool = False
    strategies: tuple[str, ...] = ()
    states: str = ""


@dataclass(frozen=True)
class EngineSpec(Spec):
    """Generates text (``infer_backend``). ``adapters``: can load adapters beside the model rather than merged into it."""

    adapters: bool = True


@dataclass(frozen=True)
class StackSpec:
    """A named set of packages for a virtual environment of its own.

    ``kind``: ``"run"`` re-executes the run inside it, ``"server"`` holds an engine that is reached over HTTP.
    ``without_dependencies``: requirements whose own pins are wrong and are installed by themselves.
    ``pins``: what its packages ask of others by their own metadata, for ``doctor`` to explain why it is a stack.
    """

    name: str
    summary: str
    requirements: tuple[str, ...]
    python: str = ">=3.11"
    kind: Literal["run", "server"] = "run"
    without_dependencies: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    load: str = ""
    options: type | None = None
    needs: tuple[str, ...] = ()
    stack: str | None = None


@dataclass(frozen=True)
class TrackerSpec(Spec):
    """Where metrics are sent, named in ``report_to`` or turned on by ``switch``."""

    switch: Switch | None = None


@dataclass(frozen=True)
class CallbackSpec(Spec):
    """A transformers ``TrainerCallback``, named in ``callbacks``."""


@dataclass(frozen=True)
class MetricSpec(Spec):
    """A measure of predictions against labels, named in ``metrics``."""


@dataclass(frozen=True)
class EvaluatorSpec(Spec):
    """A benchmark that the ``eval`` command can run."""


@dataclass(frozen=True)
class ExporterSpec(Spec):
    """A form a trained model can be shipped in, named in ``export_format``.

    :param takes: ``"adapters"``: it merges the adapters of the plan itself; ``"merged"``: the policy of the plan it gets is a
        whole model in safetensors files, with its tokenizer and everything else that belongs to it in its folder.
    """

    takes: Literal["adapters", "merged"] = "merged"


@dataclass(frozen=True)
class Axis:
    """One kind of thing that plugins offer: its hook, its word, its spec and the key that picks from it.

    ``selector`` is the key that names one of it, ``listed`` the key that names several.
    """

    hook: str
    word: str
    spec: type
    selector: str = ""
    listed: str = ""


#: Every axis, in the order in which ``tunesmith plugins`` lists them.
AXES: tuple[Axis, ...] = (
    Axis("commands", "command", CommandSpec),
    Axis("sources", "source", SourceSpec),
    Axis("formats", "format", FormatSpec),
    Axis("templates", "template", TemplateSpec, "template"),
    Axis("tool_syntaxes", "tool syntax", ToolSyntaxSpec, "tool_format"),
    Axis("models", "model catalogue", ModelCatalogueSpec),
    Axis("media", "media reader", MediaSpec),
    Axis("tuners", "tuner", TunerSpec, "finetuning_type"),
    Axis("trainers", "stage", TrainerSpec, "stage"),
    Axis("rewards", "reward", RewardSpec, listed="reward_funcs"),
    Axis("tools", "tool", ToolSpec, listed="tools"),
    Axis("optimizers", "optimizer", OptimizerSpec),
    Axis("quantizers", "quantizer", QuantizerSpec, "quantization_method"),
    Axis("accelerators", "accelerator", AcceleratorSpec),
    Axis("backends", "backend", BackendSpec, "backend"),
    Axis("launchers", "launcher", LauncherSpec),
    Axis("strategies", "strategy", StrategySpec),
    Axis("engines", "engine", EngineSpec, "infer_backend"),
    Axis("stacks", "stack", StackSpec),
    Axis("trackers", "tracker", TrackerSpec, listed="report_to"),
    Axis("callbacks", "callback", CallbackSpec, listed="callbacks"),
    Axis("metrics", "metric", MetricSpec, listed="metrics"),
    Axis("evaluators", "evaluator", EvaluatorSpec),
    Axis("exporters", "exporter", ExporterSpec, "export_format"),
)
