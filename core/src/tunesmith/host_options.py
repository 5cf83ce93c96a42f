"""The keys that the host itself owns, in five groups: model, preparation, data, generation and run.

Names and defaults are those that users of flat configurations already know; ``keys.csv`` says where a default differs and why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Literal

from tunesmith.options import Range

#: What is picked where a configuration says nothing: names of plugins' specs, so they are data and not code.
_PICKS: dict[str, str] = json.loads(resources.files("tunesmith").joinpath("picks.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class ModelOptions:
    """Which model, how it is loaded, and where it may come from."""

    model_name_or_path: Annotated[str | None, "Folder or hub name of the model to start from."] = None
    adapter_name_or_path: Annotated[
        tuple[str, ...], "Folders of adapters; all but the last are merged, the last goes on learning."
    ] = ()
    adapter_folder: Annotated[str | None, "Folder inside each adapter's repository that holds the adapter."] = None
    cache_dir: Annotated[str | None, "Where downloaded models and datasets are kept."] = None
    model_revision: Annotated[str, "Branch, tag or commit of the model and its adapters."] = "main"
    use_fast_tokenizer: Annotated[bool, "Use the fast tokenizer where the model has one."] = True
    split_special_tokens: Annotated[bool, "Split special tokens in the text like any other word."] = False
    flash_attn: Annotated[
        Literal["auto", "disabled", "eager", "sdpa", "fa2", "fa3", "flex"], "Attention kernel; auto takes the backend's best."
    ] = "auto"
    disable_gradient_checkpointing: Annotated[bool, "Keep all activations instead of computing them a second time."] = False
    use_reentrant_gc: Annotated[bool, "Use torch's reentrant kind of gradient checkpointing."] = True
    train_from_scratch: Annotated[bool, "Start from random weights of the model's configuration."] = False
    infer_backend: Annotated[str, "Engine that generates text."] = _PICKS["infer_backend"]
    infer_dtype: Annotated[
        Literal["auto", "float16", "bfloat16", "float32"], "Number format of the weights for inference and export."
    ] = "auto"
    serve_adapters: Annotated[tuple[str, ...], "Adapters that requests may ask for by name, each as name=path."] = ()
    use_kv_cache: Annotated[bool, "Keep keys and values between generated tokens."] = True
    quantization_method: Annotated[str, "How weights are held in few bits, once quantization_bit asks for it."] = _PICKS[
        "quantization_method"
    ]
    quantization_bit: Annotated[int | None, "Load the weights in this many bits.", Range(least=1, most=8)] = None
    hf_hub_token: Annotated[str | None, "Token for the Hugging Face Hub."] = None
    trust_remote_code: Annotated[bool, "Run code that comes with the model, at a pinned commit or from a local folder."] = False


@dataclass(frozen=True)
class PreparationOptions:
    """What is changed in a model before it learns."""

    add_tokens: Annotated[tuple[str, ...], "Words to add to the vocabulary, for data to contain."] = ()
    add_special_tokens: Annotated[
        tuple[str, ...], "Special tokens to add, for templates to write; in the text of data they stay text."
    ] = ()
    new_special_tokens_config: Annotated[
        str | None, "YAML file that maps each word to add to a description of what it means."
    ] = None
    init_special_tokens: Annotated[
        Literal["noise_init", "desc_init", "desc_init_w_noise"],
        "How new rows start: near the mean of all rows, as the mean of their description's rows, or near that.",
    ] = "noise_init"
    resize_vocab: Annotated[bool, "Grow the embeddings to the tokenizer's size, in steps of 64 rows."] = False
    rope_scaling: Annotated[
        Literal["linear", "dynamic", "yarn", "llama3"] | None, "Stretch rotary positions to cutoff_len, in this way."
    ] = None
    upcast_layernorm: Annotated[bool, "Hold normalisation weights that do not learn in float32."] = False
    upcast_lmhead_output: Annotated[bool, "Hand the logits on in float32."] = False
    moe_aux_loss_coef: Annotated[
        float | None, "Weight of the loss that keeps a router's experts equally busy.", Range(least=0)
    ] = None
    print_param_status: Annotated[bool, "Log every weight with its shape, number format, device and whether it learns."] = False


@dataclass(frozen=True)
class DataOptions:
    """Which data, how it becomes tokens, and what happens to rows that do not fit."""

    template: Annotated[str | None, "Template of the conversation; auto, or nothing, takes the tokenizer's own."] = None
    dataset: Annotated[tuple[str, ...], "Names from dataset_info.json to learn from."] = ()
    eval_dataset: Annotated[tuple[str, ...], "Names from dataset_info.json to evaluate on."] = ()
    dataset_dir: Annotated[str, "Folder with dataset_info.json and the data."] = "data"
    cutoff_len: Annotated[int, "Tokens that one example may have.", Range(least=1)] = 2048
    overflow: Annotated[Literal["truncate", "drop", "error"], "What happens to an example longer than cutoff_len."] = "truncate"
    max_bad_rows: Annotated[int, "Unreadable rows that are skipped before the run is given up.", Range(least=0)] = 0
    train_on_prompt: Annotated[bool, "Learn the prompt as well as the answer."] = False
    mask_history: Annotated[bool, "Learn the last answer of a conversation only."] = False
    mix_strategy: Annotated[
        Literal["concat", "interleave_under", "interleave_over", "interleave_once"],
        "Datasets one after the other, or mixed until the first ends, until all ended, or with each row once.",
    ] = "concat"
    interleave_probs: Annotated[tuple[float, ...], "Share of each dataset when they are mixed.", Range(least=0)] = ()
    overwrite_cache: Annotated[bool, "Prepare the data anew although the cache holds it."] = False
    preprocessing_batch_size: Annotated[int, "Rows prepared at a time.", Range(least=1)] = 1000
    preprocessing_num_workers: Annotated[int | None, "Processes that prepare data.", Range(least=1)] = None
    max_samples: Annotated[int | None, "Rows taken from the start of each dataset.", Range(least=1)] = None
    val_size: Annotated[float, "Share (below 1) or number of rows set aside for evaluation.", Range(least=0)] = 0.0
    eval_on_each_dataset: Annotated[bool, "Evaluate on each dataset by itself."] = False
    streaming: Annotated[bool, "Read the data while training instead of before; needs max_steps."] = False
    buffer_size: Annotated[int, "Rows that streaming shuffles among.", Range(least=1)] = 16384
    packing: Annotated[bool | None, "Fill each example up with several rows; nothing given: as the stage needs it."] = None
    neat_packing: Annotated[bool, "Pack rows so that none of them sees another."] = False
    tool_format: Annotated[str | None, "Tool syntax to use instead of the template's."] = None
    default_system: Annotated[str | None, "System prompt of conversations without one, instead of the template's."] = None
    enable_thinking: Annotated[bool | None, "Whether answers think first; null is the template's own way."] = True
    reasoning_effort: Annotated[
        Literal["low", "medium", "high"] | None, "How much answers think first, where the template can say it."
    ] = None
    preserve_thinking: Annotated[bool, "Keep the thoughts of earlier answers."] = False
    template_date: Annotated[str | None, "Day that templates print, as in 2025-03-01; null is the template's own."] = None
    tokenized_path: Annotated[str | None, "Folder of prepared data to read, or to write when it is not there."] = None
    data_cache_dir: Annotated[str | None, "Where prepared data is kept."] = None
    data_shared_file_system: Annotated[bool, "All machines see the same data cache: one prepares, the others wait."] = False


@dataclass(frozen=True)
class GenerationOptions:
    """How tokens are picked when text is generated."""

    do_sample: Annotated[bool, "Draw tokens at random instead of taking the likeliest."] = True
    temperature: Annotated[float, "Above 1 flattens, below 1 sharpens the choice.", Range(least=0)] = 0.95
    top_p: Annotated[float, "Draw from the likeliest tokens that make up this share.", Range(above=0, most=1)] = 0.7
    top_k: Annotated[int, "Draw from this many of the likeliest tokens; 0 means all.", Range(least=0)] = 50
    num_beams: Annotated[int, "Beams of a beam search; 1 means none.", Range(least=1)] = 1
    max_new_tokens: Annotated[int, "Tokens that one answer may have.", Range(least=1)] = 1024
    repetition_penalty: Annotated[float, "Above 1 makes tokens that were used less likely.", Range(above=0)] = 1.0
    length_penalty: Annotated[float, "Beam search: above 0 favours long, below 0 short answers."] = 1.0
    skip_special_tokens: Annotated[bool, "Leave special tokens out of the text."] = True


@dataclass(frozen=True)
class RunOptions:
    """What kind of run it is, and what is kept of it."""

    stage: Annotated[str, "What is learned from what."] = _PICKS["stage"]
    finetuning_type: Annotated[str, "Which weights learn."] = _PICKS["finetuning_type"]
    backend: Annotated[str, "Device to use; auto takes the best that is here."] = "auto"
    pure_bf16: Annotated[bool, "Hold weights and optimizer in bfloat16, without mixed precision."] = False
    plot_loss: Annotated[bool, "Draw the loss curves into the output folder."] = False
    compute_accuracy: Annotated[bool, "Measure token accuracy when evaluating."] = False
    include_effective_tokens_per_second: Annotated[bool, "Report tokens per second without padding."] = False
    record_vram: Annotated[bool, "Log the peak of the device's memory (on a CPU, of the process)."] = False
    early_stopping_steps: Annotated[int | None, "Stop after this many evaluations without progress.", Range(least=1)] = None
    disable_shuffling: Annotated[bool, "Learn rows in their order."] = False
    overwrite_output_dir: Annotated[bool, "Start anew in an output folder that holds another run."] = False
    allow_drift: Annotated[
        tuple[Literal["data", "model", "template", "tokenizer", "tuner", "roles"], ...],
        "What may differ from the checkpoint on resuming.",
    ] = ()
    trust_checkpoint: Annotated[bool, "Resume from checkpoint formats that can hold code."] = False
    callbacks: Annotated[tuple[str, ...], "Names of callbacks to add."] = ()
    metrics: Annotated[tuple[str, ...], "Names of metrics to compute."] = ()
    logging_dir: Annotated[str | None, "Folder of TensorBoard's logs, instead of one in the output folder."] = None
    verbosity: Annotated[Literal["debug", "info", "warning", "error", "critical"], "How much is logged."] = "info"


#: The host's groups of keys, in the order in which they are listed.
HOST_GROUPS: tuple[tuple[str, type], ...] = (
    ("model", ModelOptions),
    ("preparation", PreparationOptions),
    ("data", DataOptions),
    ("generation", GenerationOptions),
    ("run", RunOptions),
)
