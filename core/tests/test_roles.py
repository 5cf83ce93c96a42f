"""Models beside the one that learns: found while planning, sharing weights where they can, with heads where they rate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tunesmith import planning, settings
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.scores import scores
from tunesmith.runtime.tiny import make_tiny
from tunesmith.runtime.value_head import add_value_head, head_aside, value_head

Make = Callable[..., Plan]
KEYS = ("ref_model", "ref_model_adapters", "ref_model_quantization_bit")


@pytest.fixture(scope="module")
def plugins() -> Iterator[Plugins]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        # Our own stages declare the same keys by the same classes, so that nothing clashes.
        yield Plugins(found=[*entry_points(group="tunesmith"), EntryPoint("three", "roles_stage", "tunesmith")])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two adapters on it (one with a value head), and a row."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("home")
    make_tiny("qwen3", folder / "model")
    torch.manual_seed(3)
    for name in ("rater", "talker"):
        config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        base = AutoModelForCausalLM.from_pretrained(folder / "model")
        get_peft_model(base, config).save_pretrained(folder / name)
    hidden = json.loads((folder / "model" / "config.json").read_text())["hidden_size"]
    head = {"v_head.summary.weight": torch.randn(1, hidden), "v_head.summary.bias": torch.ones(1)}
    save_file(head, folder / "rater" / "value_head.safetensors")
    (folder / "rows.json").write_text(json.dumps([{"instruction": "Say a.", "output": "a"}]))
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    return folder


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    def make_plan(**keys: Any) -> Plan:
        given: dict[str, Any] = {"model_name_or_path": str(home / "model"), "dataset_dir": str(home), "dataset": "rows"}
        given |= {"template": "qwen3", "stage": "three", "output_dir": str(home / "out"), "backend": "cpu"}
        given |= {"data_cache_dir": str(home / "cache"), "reward_model": str(home / "rater"), "finetuning_type": "lora"}
        chosen = {key: value for key, value in {**given, **keys}.items() if value is not None}
        return planning.make(settings.read(plugins, chosen, environ={}), plugins, "train")

    return make_plan


def problems(make: Make, **keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(**keys)
    return caught.value.message


def opened(plan: Plan, plugins: Plugins) -> Any:
    from tunesmith.data.flow import prepare
    from tunesmith.runtime.session import open_session

    return open_session(plan, plugins, prepare(plan, plugins))


# ---- planning --------------------------------------------------------------------------------------------------------


def test_an_adapter_rates_on_the_weights_of_the_policy(make: Make, home: Path) -> None:
    wish = make().models["reward"]
    assert (wish.base_of, wish.adapters, wish.head) == ("policy", (str(home / "rater"),), "value")
    alone = make(finetuning_type="full").models["reward"]
    assert (alone.base_of, alone.path, alone.adapters) == (None, str(home / "model"), (str(home / "rater"),))


def test_a_whole_model_has_its_own_weights_and_they_are_counted(make: Make, home: Path) -> None:
    keys = {"reward_model_type": "full", "reward_model": str(home / "model"), "reward_model_adapters": str(home / "rater")}
    plan = make(**keys, finetuning_type="full")
    assert (plan.models["reward"].path, plan.models["reward"].head) == (str(home / "model"), "value")
    assert plan.estimate is not None
    assert {"reward model", "reference model"} <= set(plan.estimate.parts)


def test_an_address_is_nobody_here(make: Make) -> None:
    assert "reward" not in make(reward_model_type="api", reward_model="http://127.0.0.1:1/score").models


def test_a_role_that_nothing_fills_is_missing(make: Make) -> None:
    assert any("reward_model is not given" in problem.what for problem in make(reward_model=None).missing)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"reward_model_type": "api"}, "is no address"),
        ({"reward_model": "http://127.0.0.1:1/score"}, "reward_model is an address"),
        ({"reward_model": "talker"}, "holds no value head, so it rates nothing"),
        ({"reward_model": "model"}, "bears no mark of an installed tuner"),
        ({"reward_model_type": "full", "reward_model": "model"}, "holds no value head"),
        ({"reward_model_adapters": "rater"}, "reward_model_adapters has no meaning with reward_model_type"),
        ({"ref_model_adapters": "model"}, "bears no mark of an installed tuner"),
    ],
)
def test_what_a_role_cannot_be(keys: dict[str, str], said: str, make: Make, home: Path) -> None:
    placed = {key: str(home / value) if (home / value).is_dir() else value for key, value in keys.items()}
    assert said in problems(make, **placed)


def test_few_bits_for_one_role_alone_ask_for_a_quantizer(make: Make, plugins: Plugins) -> None:
    if plugins.quantizers:
        plan = make(ref_model_quantization_bit=4)
        assert [chosen.name for chosen in plan.picked("quantizers")]
        assert (plan.models["reference"].bits, plan.models["policy"].bits) == (4, None)
        assert plan.models["reference"].base_of is None
    else:
        assert any("needs a quantizer" in problem.what for problem in make(ref_model_quantization_bit=4).missing)


def test_the_plan_of_roles_survives_being_written(make: Make, tmp_path: Path) -> None:
    plan = make()
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json").models == plan.models


# ---- live ------------------------------------------------------------------------------------------------------------


def test_three_models_hold_the_base_once(make: Make, plugins: Plugins) -> None:
    session = opened(make(), plugins)
    policy, reward = session.models["policy"], session.models["reward"]
    assert session.models["reference"] is policy
    mine = {weight.data_ptr() for weight in policy.parameters()}
    own = {name for name, weight in reward.named_parameters() if weight.data_ptr() not in mine}
    assert own
    assert all("lora_" in name or "v_head" in name for name in own)
    assert not [name for name, weight in reward.named_parameters() if weight.requires_grad]
    assert value_head(policy) is None
    session.close()


def test_the_twin_rates_as_a_model_of_its_own_does(make: Make, plugins: Plugins) -> None:
    ids = torch.arange(5, 17).view(2, 6)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found = []
    for tuner in ("lora", "full"):
        session = opened(make(finetuning_type=tuner), plugins)
        with torch.no_grad():
            found.append(scores(session.models["reward"], batch))
            with session.answering_as("reference") as reference:
                found.append(reference(input_ids=ids).logits)
        session.close()
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], found[3], rtol=1e-4, atol=1e-5)


def test_padding_changes_no_score(home: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(home / "model").eval()
    add_value_head(model, home / "rater")
    plain = torch.tensor([[7, 8, 9]])
    for ids, mask in (([[7, 8, 9, 0, 0]], [[1, 1, 1, 0, 0]]), ([[0, 0, 7, 8, 9]], [[0, 0, 1, 1, 1]])):
        batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        with torch.no_grad():
            alone = scores(model, {"input_ids": plain, "attention_mask": torch.ones_like(plain)})
            torch.testing.assert_close(scores(model, batch), alone, rtol=1e-4, atol=1e-5)


def test_a_value_head_rates_every_place_beside_the_logits(home: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(home / "model").eval()
    ids = torch.tensor([[7, 8, 9]])
    with torch.no_grad():
        hidden = model.get_decoder()(ids).last_hidden_state
        logits = model(ids).logits
        add_value_head(model, home / "rater")
        output = model(ids)
    head = value_head(model)
    assert head is not None
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output["value"], (hidden @ head.summary.weight.T).squeeze(-1) + 1)
    with head_aside(model):
        assert not [name for name in model.state_dict() if "v_head" in name]
    assert [name for name in model.state_dict() if "v_head" in name]
