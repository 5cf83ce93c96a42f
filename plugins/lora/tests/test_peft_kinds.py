"""Every kind of adapter of peft against the conformance suite, its data file against the library, what is said of mistakes."""

from __future__ import annotations

import json
from dataclasses import fields
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import peft
import pytest
from tunesmith.errors import TunesmithError
from tunesmith.testing import TunerSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import load
from tunesmith.testing.tiny_models import logits, tiny_llama
from tunesmith_lora.peft_counting import PER_LAYER, count_learning
from tunesmith_lora.peft_kinds import kinds
from tunesmith_lora.plugin import tunesmith_check_plan, tunesmith_tuners

generator = pytest.importorskip("generate_peft_kinds", reason="the generator lies in the tools of the whole checkout")

SPECS = {spec.name: spec for spec in tunesmith_tuners()}
#: Sizes that fit a model 64 wide, where the defaults are for wider ones.
OPTIONS: dict[str, dict[str, Any]] = {
    "adamss": {"adamss_rank": 20, "adamss_num_subspaces": 2},
    "c3a": {"c3a_block_size": 16},
    "gralora": {"gralora_rank": 8},
    "ia3": {"lora_target": ("k_proj", "v_proj", "down_proj"), "ia3_feedforward_modules": ("down_proj",)},
    "lily": {"lily_rank": 8},
    "ln_tuning": {},
    "miss": {"miss_rank": 8},
    "peanut": {"peanut_rank": 8},
    "psoft": {"psoft_rank": 4},
    "pvera": {"pvera_rank": 16},
    "road": {"road_group_size": 16},
    "shira": {"shira_rank": 4},
    "trainable_tokens": {"trainable_tokens_indices": tuple(range(3, 60))},
    "vblora": {"vblora_vector_length": 16, "vblora_num_vectors": 16},
    "vera": {"vera_rank": 16},
    "waveft": {"waveft_n_frequency": 64},
}
#: How far apart logits may lie that should be the same: some kinds compute their update anew, in another order.
LOOSE = {"fourierft": 1e-3, "waveft": 1e-3, "frod": 1e-4, "deft": 1e-4, "osf": 1e-4, "hra": 1e-4, "unilora": 1e-4}
#: Learning rates of kinds whose numbers are small, or drawn at random.
RATES = {"adalora": 1.0, "lily": 1.0, "pvera": 0.1}
#: What learns, where its name is not the kind's own.
NAMES = {
    "adalora": ("lora_A", "lora_B", "lora_E"),
    "ln_tuning": ("ln_tuning_layers",),
    "loha": ("hada_",),
    "osf": ("osf_",),
    "trainable_tokens": ("trainable_tokens_delta",),
    "vera": ("vera_lambda",),
    "pvera": ("pvera_lambda",),
}


class KindCase(TunerSuite):
    kind = ""
    keys = MappingProxyType({"gradient_accumulation_steps": 1})
    tolerance = 1e-5
    learning_rate = 1e-2

    def learns(self, name: str) -> bool:
        return any(part in name for part in NAMES.get(self.kind, (f"{self.kind}_",)))


def options_of(name: str) -> Any:
    """The options of a kind with the sizes above, on two layers of each block."""
    kind = kinds()[name].options
    known = {item.name for item in fields(kind)}
    places = {key: ("q_proj", "v_proj") for key in ("lora_target", "oft_target") if key in known}
    return kind(**{**places, **OPTIONS.get(name, {})})


def case(name: str) -> type:
    """The suite for one kind."""
    facts = {"spec": SPECS[name], "kind": name, "options": (options_of(name),), "tolerance": LOOSE.get(name, 1e-5)}
    facts["learning_rate"] = RATES.get(name, 1e-2)
    made = type(f"Test_{name}", (KindCase,), facts)
    missing = [package for package in kinds()[name].needs if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{name} needs {', '.join(missing)}")(made)


globals().update({f"Test_{name}": case(name) for name in kinds()})


# -- its data file -------------------------------------------------------------------------------------------------------


def test_the_file_is_what_the_generator_makes_of_the_installed_library() -> None:
    shipped = resources.files("tunesmith_lora").joinpath("peft_kinds.json").read_text(encoding="utf-8")
    assert json.loads(shipped)["peft"] == peft.__version__, "run tools/generate_peft_kinds.py"
    assert shipped == generator.text()


def test_every_type_of_peft_is_offered_or_left_out_for_a_reason() -> None:
    assert {kind.value for kind in peft.PeftType} == {kind.type for kind in kinds().values()} | set(generator.LEFT_OUT)


def test_options_are_called_after_their_kind_or_as_users_know_them() -> None:
    shared, oft = {"lora_target", "additional_target", "create_new_adapter"}, {"module_dropout"}
    for kind in kinds().values():
        assert all(item.name in shared | oft or item.name.startswith(f"{kind.name}_") for item in fields(kind.options))
    assert {"module_dropout", "oft_rank", "oft_block_size", "oft_target"} <= kinds()["oft"].fields.keys() | {"oft_target"}


@pytest.mark.parametrize("name", [*PER_LAYER, "ln_tuning", "trainable_tokens"])
def test_the_estimate_counts_what_then_learns(name: str) -> None:
    options = options_of(name)
    base = tiny_llama()
    shapes = {weight: tuple(parameter.shape) for weight, parameter in base.named_parameters()}
    model = tuner(name, options).apply(base)
    learns = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    value = {"finetuning_type": name, **{item.name: getattr(options, item.name) for item in fields(options)}}
    assert count_learning(shapes, value.__getitem__) == learns


# -- mistakes ------------------------------------------------------------------------------------------------------------


def tuner(name: str, options: Any) -> Any:
    plan = hand_plan(options, picked={"tuners": name}, gradient_accumulation_steps=1)
    return load(SPECS[name])(plan)


@pytest.mark.parametrize(
    ("name", "options", "said", "hint"),
    [
        ("loha", {"lora_target": ("q_porj",)}, "lora_target: q_porj matches nothing", "Did you mean 'q_proj'?"),
        ("oft", {"oft_target": ("query",)}, "oft_target: query matches nothing", "q_proj (×2)"),
        ("ln_tuning", {"ln_tuning_target": ("q_proj",)}, "ln_tuning_target: q_proj matches nothing", "input_layernorm (×2)"),
        ("lokr", {"additional_target": ("embed",)}, "additional_target: embed matches nothing", "embed_tokens (×1)"),
        ("c3a", {"c3a_block_size": 48}, "c3a cannot be put on LlamaForCausalLM: ", "c3a_block_size"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_what_does(name: str, options: dict[str, Any], said: str, hint: str) -> None:
    with pytest.raises(TunesmithError) as caught:
        tuner(name, kinds()[name].options(**options)).apply(tiny_llama())
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_a_shared_table_is_not_parted_from_its_head() -> None:
    options = kinds()["loha"].options(additional_target=("embed_tokens",))
    with pytest.raises(TunesmithError, match="would part the two"):
        tuner("loha", options).apply(tiny_llama(tie_word_embeddings=True))


def test_modules_in_full_are_saved_with_it(tmp_path: Path) -> None:
    options = kinds()["loha"].options(lora_target=("q_proj",), additional_target=("lm_head",))
    model = tuner("loha", options).apply(tiny_llama())
    model.get_output_embeddings().modules_to_save["default"].weight.data += 1
    tuner("loha", options).save(model, tmp_path)
    assert logits(tuner("loha", options).load(tiny_llama(), tmp_path, trainable=False)).equal(logits(model))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("qoft", {}, "qoft turns quantised weights"),
        ("adalora", {"adalora_init_r": 8}, "adalora_init_r (8) is not above adalora_target_r (8)"),
        ("trainable_tokens", {}, "names no token"),
        ("vera", {"lora_target": ("re:(",)}, "lora_target holds no regular expression"),
        ("oft", {"oft_target": ("re:(",)}, "oft_target holds no regular expression"),
    ],
)
def test_what_a_plan_can_know_it_says(name: str, options: dict[str, Any], said: str) -> None:
    kind = kinds()["oft" if name == "qoft" else name].options
    (problem,) = tunesmith_check_plan(hand_plan(kind(**options), picked={"tuners": name}))
    assert said in problem.what


def test_an_adapter_of_oft_goes_on_as_qoft_and_the_other_way_round() -> None:
    assert SPECS["qoft"].marks == SPECS["oft"].marks
    assert SPECS["qoft"].options == SPECS["oft"].options
