"""A plugin of plain parts, for runs that test one other part: a stage, a tuner that lets everything learn, the processor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import BackendSpec, RewardSpec, TrainerSpec, TunerSpec, hookimpl
from tunesmith.contracts import Backend, Memory, Probe, Reward, Tuner
from tunesmith.plan import Plan

if TYPE_CHECKING:
    import torch

TUNESMITH_API = (1, 0)
PROCESSOR = BackendSpec(
    "processor", f"{__name__}:Processor", "The processor, for tests.", probe=f"{__name__}:probe", dtypes=("float32", "bfloat16")
)
EVERYTHING = TunerSpec("everything", f"{__name__}:Everything", "Every weight learns, for tests.")
VARIETY = RewardSpec("variety", f"{__name__}:Variety", "The share of an answer's characters that differ, for tests.")
SMALL = TrainerSpec("small", "tunesmith.testing.small_trainer:SmallStage", "Learn rows, for tests.", wants=("conversation",))


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """One stage."""
    return [SMALL]


@hookimpl
def tunesmith_rewards() -> list[RewardSpec]:
    """One reward."""
    return [VARIETY]


@hookimpl
def tunesmith_tuners() -> list[TunerSpec]:
    """One tuner."""
    return [EVERYTHING]


@hookimpl
def tunesmith_backends() -> list[BackendSpec]:
    """One backend."""
    return [PROCESSOR]


def probe() -> Probe:
    """It is always here."""
    return Probe(here=True, devices=1)


class Everything(Tuner):
    """Lets every weight learn and saves the whole model."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def apply(self, model: Any) -> Any:
        """All of it."""
        return model.requires_grad_(True)

    def load(self, model: Any, path: Path, *, trainable: bool) -> Any:
        """Copy the weights in ``path`` over those of the model."""
        model.load_state_dict(type(model).from_pretrained(path).state_dict())
        return model.requires_grad_(trainable)

    def save(self, model: Any, directory: Path) -> None:
        """As transformers does."""
        model.save_pretrained(directory)


class Variety(Reward):
    """How many different characters an answer is made of, by its length; 0 where it is empty."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def score(self, prompts: Any, completions: Any, extras: Any) -> list[float]:
        """From 0 to 1."""
        return [len(set(turn.text)) / max(len(turn.text), 1) for turn in completions]


class Processor(Backend):
    """torch on the processor, in float32."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def device(self, local_rank: int = 0) -> torch.device:
        """The only one."""
        import torch

        return torch.device("cpu")

    def dtype(self, wanted: str) -> torch.dtype:
        """float32 unless something else is asked for."""
        import torch

        found: torch.dtype = torch.float32 if wanted == "auto" else getattr(torch, wanted)
        return found

    def arguments(self) -> dict[str, Any]:
        """Keep to it."""
        return {"use_cpu": True}

    def seed(self, seed: int) -> None:
        """torch's own generator."""
        import torch

        torch.manual_seed(seed)

    def memory(self, local_rank: int = 0) -> Memory:
        """Nobody asks."""
        return Memory(0, 0, 0, 0)
