"""What the object behind a spec must be able to do.

Each contract is a Protocol. Verbs that are not abstract have a working default: inherit from the Protocol to get it. The
runtime calls every verb of a picked object in the same order for everybody, so no code asks which tuner or device it has.
``Plan`` and ``Session`` in the signatures are :class:`tunesmith.plan.Plan` and :class:`tunesmith.runtime.session.Session`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from tunesmith.acceleration import Accelerator as Accelerator  # a contract with a module of its own
from tunesmith.answer_contracts import MISTAKES as MISTAKES  # what is done with answers is imported from here as well
from tunesmith.answer_contracts import Reward as Reward
from tunesmith.answer_contracts import Tool as Tool
from tunesmith.backend_facts import Memory as Memory  # what backends give is imported from here as well
from tunesmith.backend_facts import Probe as Probe
from tunesmith.data.conversation import Conversation, Example, Rendered, Turn
from tunesmith.errors import BadMedia as BadMedia
from tunesmith.errors import BadRow as BadRow  # what formats and renderers raise is imported from here as well
from tunesmith.errors import RewrittenReplies as RewrittenReplies
from tunesmith.errors import TunesmithError
from tunesmith.findings import Finding as Finding
from tunesmith.generation import Delta as Delta  # what engines take and give is imported from here as well
from tunesmith.generation import Engine as Engine
from tunesmith.generation import Request as Request
from tunesmith.generation import Sampling as Sampling
from tunesmith.generation import TokenLogprob as TokenLogprob
from tunesmith.layer_merge import LayerMerge as LayerMerge
from tunesmith.media_contract import MediaReader as MediaReader
from tunesmith.model_folder import ModelStore as ModelStore
from tunesmith.model_folder import Whereabouts as Whereabouts
from tunesmith.outcome import Outcome as Outcome
from tunesmith.strategy_contract import Strategy as Strategy

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, TrainerCallback

    from tunesmith.plan import ModelWish, Plan
    from tunesmith.runtime.session import Session


# ---- data ------------------------------------------------------------------------------------------------------------


class Source(Protocol):
    """Reads rows. Made as ``source(dataset, plan)``; ``dataset`` is a :class:`tunesmith.plan.DatasetPlan`: its ``entry`` is
    that of ``dataset_info.json``, its ``folder`` the one that file lies in."""

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """Local files that the rows come from, for fingerprints; empty where there are none."""

    @abstractmethod
    def rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each row with the place a user can find it at (``"data/a.jsonl:17"``).

        :raises TunesmithError: a file is missing or malformed; the message names file and line.
        """

    def version(self) -> str:
        """What a name that can move stands for now (a commit); empty where there is no such thing.

        Asked once, before the processes of a run are made: from then on it is ``dataset.version``. It is part of the key of
        prepared data, and told in the data report.

        :raises TunesmithError: it cannot be found out.
        """
        return ""


class Format(Protocol):
    """Turns rows into examples. Made as ``format(columns, tags)`` with the names of ``dataset_info.json`` filled in."""

    @abstractmethod
    def read(self, row: Mapping[str, Any], kind: str) -> Example:
        """Read ``row`` as an example of ``kind``, one of those that the spec says it yields.

        :raises BadRow: the row is not of that kind; the host counts it against ``max_bad_rows``.
        """


class Renderer(Protocol):
    """Turns conversations into a model's text and generated text back into turns. One per run, for training and serving."""

    name: str
    stop: tuple[str, ...]
    fingerprint: str
    """Changes whenever rendered text could change."""
    media: MediaReader | None = None
    """Reads what is no text; what it sees is part of the rendered text then. ``None`` where nothing can be seen."""

    @abstractmethod
    def render(self, conversation: Conversation, *, generation_prompt: bool = False) -> Rendered:
        """Render every turn. With ``generation_prompt`` the text ends where the model's next answer starts.

        :raises RewrittenReplies: an answer to learn is written otherwise once other turns follow it.
        :raises TunesmithError: the template cannot express this conversation; the message names the turn.
        """

    @abstractmethod
    def parse_reply(self, text: str, tools: Sequence[Mapping[str, Any]] = ()) -> Turn:
        """Read generated text (without the stop token) as an assistant turn with its thought, text and calls.

        :param tools: those the model was offered. Some families write arguments bare; there the schemas tell ``12`` from
            ``"12"``.
        """

    @abstractmethod
    def chat_template(self) -> str:
        """The same template as Jinja, to be written beside a trained model."""

    @abstractmethod
    def ollama(self) -> str:
        """The same template as the ``TEMPLATE``, ``SYSTEM`` and ``PARAMETER stop`` lines of an Ollama Modelfile."""


class ToolSyntax(Protocol):
    """One way to write tools in text."""

    @abstractmethod
    def declare(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """The text that tells a model which tools it has."""

    @abstractmethod
    def calls(self, calls: Sequence[Any]) -> str:
        """The text of one or more :class:`~tunesmith.data.conversation.Call` as the model writes them."""

    @abstractmethod
    def parse(self, text: str) -> tuple[str, tuple[Any, ...]]:
        """Generated text → the words beside the calls, and the calls."""


# ---- what learns -----------------------------------------------------------------------------------------------------


class Tuner(Protocol):
    """Decides which weights learn. Made as ``tuner(plan)``."""

    def __init__(self, plan: Plan) -> None: ...

    @abstractmethod
    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Prepare a loaded model for training from scratch: add what is added, freeze what must not move."""

    def initialize(self, model: PreTrainedModel, examples: Iterable[Any], loss: Callable[[Any], torch.Tensor]) -> None:
        """Fit what :meth:`apply` has just added to the data that will be learned: principal directions, first gradients, ….

        Called once before the first step of a run that starts from nothing, in every process with the same examples; never
        when a run is resumed or goes on from an adapter. Change ``model`` in place.

        :param examples: batches of one row each, in a fixed mixed order; they are made as they are asked for.
        :param loss: runs ``model`` on one of them as training would and returns the stage's loss.
        """

    @abstractmethod
    def load(self, model: PreTrainedModel, path: Path, *, trainable: bool) -> PreTrainedModel:
        """Put what :meth:`save` wrote into ``path`` on top of ``model``."""

    @abstractmethod
    def save(self, model: PreTrainedModel, directory: Path) -> None:
        """Write what was learned as safetensors, so that :meth:`load` on a fresh base gives the same logits."""

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Fold what was added into plain weights and return a model without traces of this tuner."""
        return model

    def layer_merges(self, model: PreTrainedModel) -> Iterable[LayerMerge]:
        """How to merge piece by piece, where the spec's ``by_layer`` allows it.

        :param model: what :meth:`load` returned for a model of :mod:`tunesmith.runtime.hollow`: the adapter is there, and in
            place of each weight of the base a tensor of its shape that must not be written to.
        """
        raise TypeError(f"{type(self).__name__} needs the whole model to merge")

    def describe(self, model: PreTrainedModel) -> list[str]:
        """Lines for the log about a model it prepared: what learns, and what one might think learns and does not."""
        return []

    def continues(self) -> bool:
        """Whether the last of the given adapters goes on learning; otherwise it is merged and :meth:`apply` adds a new one."""
        return True

    def param_groups(self, model: PreTrainedModel) -> list[dict[str, Any]] | None:
        """Optimizer groups as torch wants them, or ``None`` for the trainer's usual ones."""
        return None

    def callbacks(self, session: Session) -> list[TrainerCallback]:
        """Callbacks this tuner needs while training."""
        return []

    def without(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Within it, ``model`` answers as its base would. Only where the spec says ``disables``."""
        raise TypeError(f"{type(self).__name__} cannot be switched off")


class Trainer(Protocol):
    """A training stage. Made as ``trainer(plan)``."""

    def __init__(self, plan: Plan) -> None: ...

    def arguments_class(self) -> type:
        """The class of the training arguments, a subclass of ``transformers.TrainingArguments``. Built first and once."""
        from transformers import TrainingArguments

        kind: type = TrainingArguments
        return kind

    @abstractmethod
    def run(self, session: Session) -> Outcome:
        """Train, evaluate and predict as the plan says."""


class Quantizer(Protocol):
    """Holds weights in few bits. Made as ``quantizer(plan)``, once for every model that the run loads with it."""

    def __init__(self, plan: Plan) -> None: ...

    @abstractmethod
    def arguments(self, wish: ModelWish, dtype: torch.dtype) -> dict[str, Any]:
        """Keyword arguments for ``from_pretrained``: for plain weights unless ``wish.packed``.

        :param dtype: the format of weights that are not quantised, in which quantised ones compute.
        """

    def after_load(self, model: PreTrainedModel, wish: ModelWish) -> PreTrainedModel:
        """What is left to do when the weights are there. Nothing where ``from_pretrained`` does it all."""
        return model

    @abstractmethod
    def check(self, model: PreTrainedModel, wish: ModelWish) -> None:
        """Prove that the loaded model is held as ``wish`` says.

        :raises TunesmithError: it is not.
        """

    def write(self, method: str, whole: Path, directory: Path, rows: Sequence[Sequence[int]]) -> None:
        """Quantise the plain model in the folder ``whole`` and save it into ``directory``.

        :param method: one of the ``methods`` of the spec.
        :param rows: token ids of texts to calibrate on, where the method looks at data.
        :raises TunesmithError: it cannot be done.
        """
        raise TunesmithError(f"{type(self).__name__} quantises only what is loaded, not what lies in a folder.")


# ---- where it runs ---------------------------------------------------------------------------------------------------


class Backend(Protocol):
    """The device a run uses. Made as ``backend(plan)`` after its environment was set, so that it may import torch."""

    def __init__(self, plan: Plan) -> None: ...

    @abstractmethod
    def device(self, local_rank: int = 0) -> torch.device:
        """The device of one process."""

    @abstractmethod
    def dtype(self, wanted: str) -> torch.dtype:
        """torch's dtype for ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.

        :raises TunesmithError: the device cannot compute in it.
        """

    def arguments(self) -> dict[str, Any]:
        """Training arguments that this device needs; that transformers and accelerate use :meth:`device` is seen to."""
        return {}

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Seed this device's random numbers."""

    def rng_state(self) -> dict[str, torch.Tensor]:
        """This device's random state, as tensors that safetensors can hold."""
        return {}

    def set_rng_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what :meth:`rng_state` gave."""

    @abstractmethod
    def memory(self, local_rank: int = 0) -> Memory:
        """Memory of one device now."""

    def empty_cache(self) -> None:
        """Give memory that is held and not used back to the device."""

    def synchronize(self) -> None:
        """Wait until everything queued on the device is done."""

    def new_event(self) -> Any | None:
        """An event that can time the current stream, as ``torch.cuda.Event``; ``None`` where the device has none."""
        return None

    def mark(self) -> Any:
        """A moment in the work of the current device, for :meth:`elapsed`; nobody waits where it has events of its own."""
        if (event := self.new_event()) is not None:
            event.record()
            return event
        self.synchronize()
        return perf_counter()

    def elapsed(self, earlier: Any, later: Any) -> float:
        """Seconds that the device worked between two moments, once it has come to the later one."""
        if not isinstance(later, float):
            later.synchronize()
            return float(earlier.elapsed_time(later)) / 1000
        return later - float(earlier)

    def autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Mixed precision for hand-written loops."""
        return nullcontext()

    def replace_experts(self, model: PreTrainedModel) -> PreTrainedModel:
        """Put this backend's own expert operators into a mixture-of-experts model."""
        return model

    def advice(self, error: BaseException) -> str:
        """What a user can do about an error of this device (out of memory, …); empty when it is none of its own."""
        return ""


class Launcher(Protocol):
    """Turns one process into the processes of a run. Made as ``launcher(plan)``."""

    @abstractmethod
    def spread(self, plan: Plan, work: Callable[[Plan], int]) -> int:
        """Call ``work`` with the very same plan once in each process of the run, and return the exit status.

        Data and models are prepared before. Processes of its own get the plan through a
        :class:`tunesmith.run_folder.RunFolder` and run ``python -m tunesmith.worker FOLDER``.
        """


# ---- what talks ------------------------------------------------------------------------------------------------------


class Exporter(Protocol):
    """Writes a trained model in one form. Made as ``exporter(plan)``."""

    @abstractmethod
    def export(self, plan: Plan, directory: Path) -> Mapping[str, Any]:
        """Write into ``directory``; returns facts for the report (files, sizes, checks)."""


class Evaluator(Protocol):
    """Runs one benchmark. Made as ``evaluator(plan)``."""

    @abstractmethod
    def evaluate(self, engine: Engine) -> Mapping[str, float]:
        """Scores by name."""


class Metric(Protocol):
    """Measures predictions. Made as ``metric(plan)``."""

    @abstractmethod
    def compute(self, predictions: Sequence[str], labels: Sequence[str]) -> Mapping[str, float]:
        """Scores by name."""


class Optimizer(Protocol):
    """An optimizer beyond transformers' own. Made as ``optimizer(plan)``."""

    def __init__(self, plan: Plan) -> None: ...

    @abstractmethod
    def build(self, model: PreTrainedModel, groups: list[dict[str, Any]], arguments: Any) -> torch.optim.Optimizer:
        """The optimizer over ``groups``, each with its own ``weight_decay`` and perhaps its own ``lr``, which must be kept.

        Its ``state_dict`` holds tensors and plain values only, and ``load_state_dict`` goes on exactly where that was written.
        """

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """Training arguments that it sets. A clash with what the user wrote is an error."""
        return {}


class Tracker(Protocol):
    """Sends metrics somewhere. Made as ``tracker(plan)``."""

    @abstractmethod
    def callback(self) -> TrainerCallback:
        """The callback that does it."""

    def close(self) -> None:
        """The run is over, however it ended. Safe to call twice."""
