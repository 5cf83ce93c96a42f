"""The methods that users know by name: each is on offer, or its key is refused with the reason."""

from __future__ import annotations

import pytest
from tunesmith.keys import KeyTable
from tunesmith.plugins import Plugins

OFFERED = {
    "tuners": (
        "full freeze lora adalora loha lokr oft qoft boft vera ia3 hra fourierft randlora vblora ln_tuning trainable_tokens "
        "miss shira prefix prompt p_tuning multitask adapter"
    ),
    "quantizers": "bitsandbytes torchao hqq eetq gptq awq aqlm compressed-tensors fp8 mxfp4",
    "optimizers": "galore apollo badam adam-mini muon lomo adalomo",
    "accelerators": "fa2 fa3 flex liger unsloth offload cross-entropy longlora",
}
KEYS = (
    "lora_target additional_target use_rslora use_dora loraplus_lr_ratio pissa_init pissa_iter pissa_convert lora_init "
    "create_new_adapter lora_rank_pattern lora_target_parameters lora_layer_replication use_llama_pro quantization_type "
    "double_quantization quantization_device_map quantization_aware galore_layerwise galore_quantize galore_8bit "
    "apollo_layerwise badam_mode add_tokens add_special_tokens new_special_tokens_config resize_vocab rope_scaling "
    "upcast_layernorm upcast_lmhead_output pure_bf16 moe_aux_loss_coef flash_attn enable_liger_kernel use_unsloth "
    "use_unsloth_gc neat_packing disable_gradient_checkpointing use_reentrant_gc torch_compile use_kt shift_attn"
)
REFUSED = "mixture_of_depths"


@pytest.mark.parametrize("axis", OFFERED)
def test_methods_are_on_offer(axis: str) -> None:
    assert set(OFFERED[axis].split()) <= set(Plugins().axis(axis).names)


def test_keys_have_an_owner_or_a_reason() -> None:
    keys = KeyTable.of(Plugins())
    without = [key for key in KEYS.split() if keys[key].status != "owned"]
    assert not without
    assert all(keys[key].status == "refused" and keys[key].reason for key in REFUSED.split())
