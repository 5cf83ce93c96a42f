import json
from contextlib import contextmanager

import torch
from safetensors.torch import load_file, save_file
from tunesmith import TunesmithError
from tunesmith.contracts import Tuner

from acme_tuner.options import ScaleOptions

WEIGHTS, MARK = "acme_scale.safetensors", "acme_scale.json"


class Scaled(torch.nn.Module):
    """A linear layer whose outputs are multiplied by learned factors."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.factors = torch.nn.Parameter(torch.ones(inner.out_features, device=inner.weight.device))
        self.on = True

    def forward(self, hidden):
        answer = self.inner(hidden)
        return answer * self.factors.to(answer.dtype) if self.on else answer


class ScaleTuner(Tuner):
    def __init__(self, plan):
        self.targets = plan.options(ScaleOptions).scale_target

    def apply(self, model):
        model.requires_grad_(False)
        found = [name for name, module in model.named_modules() if self.wanted(name, module)]
        if not found:
            raise TunesmithError(f"The model has no linear layer called {' or '.join(self.targets)}.", "Write other names.")
        return self.wrap(model, found)

    def wanted(self, name, module):
        return isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in self.targets

    def wrap(self, model, names):
        for name in names:
            model.set_submodule(name, Scaled(model.get_submodule(name)))
        return model

    def save(self, model, directory):
        factors = {name: module.factors.detach().cpu().contiguous() for name, module in scaled(model)}
        save_file(factors, directory / WEIGHTS)
        (directory / MARK).write_text(json.dumps({"kind": "scale", "layers": len(factors)}))

    def load(self, model, path, *, trainable):
        factors = load_file(path / WEIGHTS)
        model.requires_grad_(False)
        self.wrap(model, list(factors))
        for name, module in scaled(model):
            module.factors.data.copy_(factors[name])
            module.factors.requires_grad_(trainable)
        return model

    def merge(self, model):
        for name, module in list(scaled(model)):
            with torch.no_grad():
                module.inner.weight.mul_(module.factors[:, None])
                if module.inner.bias is not None:
                    module.inner.bias.mul_(module.factors)
            model.set_submodule(name, module.inner)
        return model

    @contextmanager
    def without(self, model):
        for _, module in scaled(model):
            module.on = False
        try:
            yield
        finally:
            for _, module in scaled(model):
                module.on = True


def scaled(model):
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Scaled)]
