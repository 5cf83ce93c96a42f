"""transformers' own optimizers through the runtime: they resume exactly, and save what they have found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from schedulefree import SGDScheduleFree
from transformers import TrainerCallback
from tunesmith.errors import TunesmithError
from tunesmith.runtime.optimizing import build_optimizer
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session

SCHEDULE_FREE = ("schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd")


def run(folder: Path, **keys: Any) -> tuple[list[float], dict[str, torch.Tensor], Any]:
    """Losses, weights, and the optimizer as it was left."""
    plugins = small_plugins()
    session = small_session(small_plan(folder, plugins, "small", **keys), plugins, SmallStore(small_rows(8)))
    catch = Catch()
    session.callbacks = (catch,)
    session.trainer.run(session)
    model = session.models["policy"]
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    session.close()
    return small_losses(session), weights, catch.optimizer


class Catch(TrainerCallback):
    """Keeps hold of the optimizer."""

    optimizer: Any = None

    def on_step_end(self, *args: Any, optimizer: Any, **kwargs: Any) -> None:
        self.optimizer = optimizer


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop", *SCHEDULE_FREE])
def test_it_resumes_to_the_last_bit(tmp_path: Path, optim: str) -> None:
    keys = {"optim": optim, "save_strategy": "steps", "save_steps": 2}
    losses, weights, _ = run(tmp_path, **keys)
    again, same, _ = run(tmp_path, **keys, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert again == losses
    assert all(torch.equal(weight, same[name]) for name, weight in weights.items())


def test_a_schedule_free_run_saves_the_averaged_weights(tmp_path: Path) -> None:
    """Gradients are computed between the average x and the sequence z (Defazio et al. 2024, arXiv:2405.15682, eq. 3–5)."""
    keys = {"optim": "schedule_free_sgd", "max_steps": 3, "save_strategy": "steps", "save_steps": 3}
    _, weights, optimizer = run(tmp_path, **keys)
    written = load_file(tmp_path / "out" / "checkpoint-3" / "model.safetensors")
    assert all(torch.equal(written[name], weight) for name, weight in weights.items())
    group = optimizer.param_groups[0]
    assert group["train_mode"] is False
    average, sequence = group["params"][0].detach().clone(), optimizer.optimizer.state[group["params"][0]]["z"]
    optimizer.train()
    torch.testing.assert_close(group["params"][0].data, average + 0.1 * (sequence - average))
    assert not torch.equal(group["params"][0], average)


def test_groups_of_the_tuner_are_kept_or_refused() -> None:
    """An optimizer that makes its own groups would lose a tuner's rates."""

    class Own:
        args = type("A", (), {"optim": type("O", (), {"value": "acme"})})
        session = type("S", (), {"optimizer": None, "tuner": type("T", (), {"param_groups": lambda self, model: [{}]})()})

        def get_optimizer_cls_and_kwargs(self, args: Any, model: Any) -> Any:
            return torch.optim.SGD, {"params": []}

    with pytest.raises(TunesmithError, match="optim: acme makes its own groups of weights, and so does the tuner"):
        build_optimizer(Own(), None)  # type: ignore[arg-type]


def test_two_steps_without_a_schedule_by_hand() -> None:
    """z moves as SGD does, x is the mean of all z, and gradients are taken at y = 0.1 z + 0.9 x (Defazio et al. 2024,
    arXiv:2405.15682, equations 1 to 3)."""
    weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    optimizer = SGDScheduleFree([weight], lr=0.1, momentum=0.9)
    optimizer.train()
    for gradient in ([[1.0, 0.0], [0.0, 2.0]], [[2.0, 1.0], [0.0, 0.0]]):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    assert torch.allclose(weight, torch.tensor([[0.79, 1.945], [3.0, 3.8]]))
    optimizer.eval()
    assert torch.allclose(weight, torch.tensor([[0.8, 1.95], [3.0, 3.8]]))
