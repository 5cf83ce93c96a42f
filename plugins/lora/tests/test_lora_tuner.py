"""The tuner ``lora`` against the conformance suite, once for each way of working."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

from tunesmith.testing import PluginSuite, TunerSuite
from tunesmith.testing.tiny_models import tiny_llama, tiny_moe
from tunesmith_lora.options import LoraOptions
from tunesmith_lora.plugin import tunesmith_tuners

LORA = tunesmith_tuners()[0]


class TestPlugin(PluginSuite):
    plugin = "lora"
    folder = Path(__file__).parents[1]


class LoraCase(TunerSuite):
    spec = LORA

    def learns(self, name: str) -> bool:
        return "lora_" in name


class TestLora(LoraCase):
    options = (LoraOptions(),)


class TestTwoTargets(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_alpha=4, lora_target=("q_proj", "mlp.down_proj"), use_rslora=True),)


class TestDora(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_target=("q_proj", "v_proj"), use_dora=True),)


class TestLoraPlus(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_target=("q_proj", "embed_tokens"), loraplus_lr_ratio=16.0),)
    keys = MappingProxyType({"weight_decay": 0.1})


class TestEmbeddingAndHead(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_target=("embed_tokens", "lm_head", "o_proj")),)


class TestModulesInFull(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_target=("q_proj",), additional_target=("embed_tokens", "lm_head")),)

    def learns(self, name: str) -> bool:
        return "lora_" in name or "modules_to_save" in name


class TestModulesInFullThatShareAWeight(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_target=("q_proj",), additional_target=("embed_tokens",)),)

    def model(self) -> Any:
        return tiny_llama(tie_word_embeddings=True)

    def learns(self, name: str) -> bool:
        return "lora_" in name or "modules_to_save" in name


class TestExperts(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_target_parameters=("all",)),)
    tolerance = 1e-4

    def model(self) -> Any:
        return tiny_moe()


class TestPissa(LoraCase):
    options = (LoraOptions(lora_rank=4, pissa_init=True, lora_target=("q_proj", "up_proj")),)
    tolerance = 1e-4
    learning_rate = 1e-3


class TestPissaExact(LoraCase):
    options = (LoraOptions(lora_rank=4, pissa_init=True, pissa_iter=-1, lora_dropout=0.2, additional_target=("norm",)),)
    tolerance = 1e-4
    learning_rate = 1e-3

    def learns(self, name: str) -> bool:
        return "lora_" in name or "modules_to_save" in name


class TestPissaConverted(LoraCase):
    options = (LoraOptions(lora_rank=4, pissa_init=True, pissa_convert=True, use_rslora=True),)
    tolerance = 1e-4
    reload_tolerance = 1e-4
    learning_rate = 1e-3


class TestGaussian(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_init="gaussian"),)


class TestOrthogonal(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_init="orthogonal", lora_target=("q_proj", "up_proj")),)


class TestMica(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_init="mica", lora_target=("q_proj", "up_proj")),)

    def learns(self, name: str) -> bool:
        return "lora_A" in name


class TestOlora(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_init="olora", lora_target=("q_proj", "up_proj")),)
    tolerance = 1e-4
    reload_tolerance = 1e-4
    learning_rate = 1e-3


class TestEva(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_init="eva", lora_target=("q_proj", "up_proj", "down_proj")),)


class TestCorda(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_init="corda", lora_target=("q_proj", "up_proj")),)
    tolerance = 1e-4
    reload_tolerance = 1e-4
    learning_rate = 1e-3


class TestLoraGa(LoraCase):
    options = (LoraOptions(lora_rank=4, lora_init="lora_ga", lora_target=("q_proj", "up_proj"), use_rslora=True),)
    tolerance = 1e-4
    reload_tolerance = 1e-4
    learning_rate = 1e-3
