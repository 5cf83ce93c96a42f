"""Combinations that cannot work, and things a command cannot do without."""

from __future__ import annotations

from collections.abc import Callable

from tunesmith.model_folder import read_json
from tunesmith.output_folder import check_checkpoint, check_output_folder
from tunesmith.planning.attention import check_attention
from tunesmith.planning.draft import Draft
from tunesmith.planning.further_adapters import check_further_adapters
from tunesmith.planning.models import find_in
from tunesmith.planning.quantized_checks import check_quantized
from tunesmith.specs import AcceleratorSpec, BackendSpec

Check = Callable[[Draft], None]
#: Kinds of examples that are nothing but tokens.
STREAMED = ("conversation", "document", "preference")
#: Keys that need to know all rows before the first is learned, and what they are when they want nothing.
UNSTREAMED = {
    "max_samples": None,
    "tokenized_path": None,
    "include_effective_tokens_per_second": False,
    "train_sampling_strategy": "random",
}


def check(draft: Draft) -> None:
    """Run every check; each notes what it finds."""
    for one in CHECKS:
        one(draft)


def _required(draft: Draft) -> None:
    for key in draft.command.requires:
        if key == "dataset" and not draft.value("do_train"):
            continue
        if draft.value(key) in (None, ()):
            draft.lacks(key, f"{key} is not given", f"{draft.command.name} needs it: write {key}: …")


def _something_to_do(draft: Draft) -> None:
    if draft.command.name == "train" and not any(draft.value(key) for key in ("do_train", "do_eval", "do_predict")):
        draft.problem("do_train", "do_train, do_eval and do_predict are all off: nothing is left to do", "Switch one on.")


def _precision(draft: Draft) -> None:
    if draft.value("bf16") and draft.value("fp16"):
        draft.problem("fp16", "bf16 and fp16 are both on", "Keep one of them.")
    wanted = "bfloat16" if draft.value("bf16") or draft.value("pure_bf16") else "float16" if draft.value("fp16") else None
    for spec in draft.picked("backends"):
        if wanted and wanted not in spec.dtypes:
            key = "fp16" if wanted == "float16" else "bf16" if draft.value("bf16") else "pure_bf16"
            draft.lacks(key, f"the backend {spec.name} does not compute in {wanted}", f"It can do {', '.join(spec.dtypes)}.")


def _accelerators(draft: Draft) -> None:
    """Each works on this backend and in this number format, and no two compute the same loss."""
    offered: dict[str, str] = {}
    for spec in draft.picked("accelerators"):
        key = spec.switch.key if spec.switch else ""
        for backend in draft.picked("backends"):
            _on_backend(draft, key, spec, backend)
        computes = _computes_in(draft)
        if spec.dtypes and computes and computes not in spec.dtypes:
            instead = "Write bf16: true or fp16: true." if computes == "float32" else f"It takes {', '.join(spec.dtypes)}."
            draft.problem(key, f"{spec.name} does not compute in {computes}", instead)
        for loss in spec.losses:
            if other := offered.get(loss):
                draft.problem(key, f"{spec.name} and {other} both compute the {loss} loss", "Keep one of them.")
            offered[loss] = spec.name


def _on_backend(draft: Draft, key: str, spec: AcceleratorSpec, backend: BackendSpec) -> None:
    lacking = [kind for kind in spec.kernels if kind not in backend.kernels]
    if spec.backends and backend.name not in spec.backends:
        draft.lacks(key, f"{spec.name} does not work on {backend.name}", f"It works on {', '.join(spec.backends)}.")
    elif backend.carries and spec.name not in backend.carries:
        draft.lacks(key, f"{spec.name} does not work on {backend.name}", f"It carries {', '.join(backend.carries)}.")
    elif lacking:
        what = f"{spec.name} is made of {' and '.join(lacking)} kernels, which {backend.name} cannot run"
        draft.lacks(key, what, spec.elsewhere)


def _computes_in(draft: Draft) -> str | None:
    """The number format that training computes in, where that can be known."""
    if not draft.picked("trainers") or not draft.value("do_train"):
        return None
    for key, dtype in (("bf16", "bfloat16"), ("pure_bf16", "bfloat16"), ("fp16", "float16")):
        if draft.value(key):
            return dtype
    if any(spec.saves == "model" for spec in draft.picked("tuners")):
        return "float32"
    wish = draft.models.get("policy")
    folder = find_in(draft, wish.path).folder if wish is not None and wish.path else None
    config = read_json(folder, "config.json") if folder is not None else {}
    return config.get("dtype") or config.get("torch_dtype")


def _masks(draft: Draft) -> None:
    if draft.value("mask_history") and draft.value("train_on_prompt"):
        draft.problem("mask_history", "mask_history and train_on_prompt contradict each other", "Keep one of them.")


def _validation(draft: Draft) -> None:
    if draft.value("val_size") and draft.value("eval_dataset"):
        draft.problem("val_size", "val_size and eval_dataset are both given", "Keep one of them.")
    if draft.value("val_size") and not draft.value("dataset"):
        draft.problem("val_size", "val_size has no dataset to split", "Give dataset: too.")
    evaluates = draft.value("do_eval") or draft.value("do_predict") or draft.value("eval_strategy") not in (None, "no")
    if draft.picked("trainers") and evaluates and not (draft.value("val_size") or draft.value("eval_dataset")):
        key = next((k for k in ("eval_strategy", "do_eval", "do_predict") if draft.given(k)), "eval_strategy")
        draft.lacks(key, f"{key} has nothing to evaluate on", "Give eval_dataset: or val_size:.")
    if draft.picked("trainers") and draft.value("early_stopping_steps") and draft.value("eval_strategy") in (None, "no"):
        what = "early_stopping_steps needs evaluations while training"
        draft.problem("early_stopping_steps", what, "Write eval_strategy: steps or epoch.")


def _streaming(draft: Draft) -> None:
    """A stream has no end and no length that anything could be a share of."""
    if not draft.value("streaming") or not draft.value("do_train") or not draft.picked("trainers"):
        return
    if (draft.value("max_steps") or 0) <= 0:
        draft.problem("streaming", "streaming: true needs max_steps: a stream has no length", "Write max_steps: N")
    if 0 < draft.value("val_size") < 1:
        what = "val_size is a share, and a stream has no length"
        draft.problem("val_size", what, "Write a number of rows, 1 or more: the first ones are set aside.")
    for key, off in UNSTREAMED.items():
        if draft.value(key) not in (None, False, off):
            draft.problem(key, f"{key} has no meaning with streaming: true", "Leave it out, or write streaming: false")
    for dataset in draft.datasets:
        if dataset.split == "train" and dataset.entry.get("num_samples"):
            draft.problem("dataset", f"num_samples of {dataset.name} needs all of its rows at once", "Write streaming: false")
        if dataset.split == "train" and dataset.kind not in STREAMED:
            draft.problem("streaming", f"{dataset.kind} examples cannot be streamed", "Write streaming: false")


def _adapters(draft: Draft) -> None:
    wish = draft.models.get("policy")
    if not wish or not wish.adapters or not draft.picked("trainers"):
        return
    for spec in draft.picked("tuners"):
        if spec.saves == "model":
            instead = "Use the tuner that made it, or export the merged model first."
            draft.problem("adapter_name_or_path", f"finetuning_type: {spec.name} cannot go on from an adapter", instead)


def _optimizer(draft: Draft) -> None:
    """Optimizers that move the model's own weights, and tuners that leave those alone or strategies that cut them up."""
    for spec in draft.picked("optimizers"):
        for tuner in draft.picked("tuners"):
            if spec.whole_weights and tuner.saves == "adapter":
                what = f"{spec.switch.key} moves the model's own weights, which finetuning_type: {tuner.name} leaves alone"
                draft.problem(spec.switch.key, what, "Use a tuner that trains the weights themselves, or another optimizer.")
        for strategy in draft.picked("strategies") if draft.spread.shards != "nothing" else ():
            if strategy.name not in spec.strategies:
                what = f"the optimizer {spec.name} looks at whole weights, and with {strategy.name} it gets parts of them"
                draft.problem(spec.switch.key if spec.switch else "optim", what, "Leave one of both out.")


def _sharing(draft: Draft) -> None:
    """What a strategy's checkpoints ask for, or cannot do."""
    for spec in draft.picked("strategies"):
        if draft.value("resume_from_checkpoint") and spec.pickles and not draft.value("trust_checkpoint"):
            what = f"checkpoints of {spec.name} hold pickled objects, which can run code when they are read"
            draft.problem("resume_from_checkpoint", what, "Write trust_checkpoint: true if this run wrote them.")
        for tuner in draft.picked("tuners") if spec.learns == "model" else ():
            if tuner.saves == "adapter":
                what = f"finetuning_type: {tuner.name} adds weights to layers, which {spec.name} cannot share out"
                own = [offer.spec.name for offer in draft.plugins.tuners if offer.spec.saves == "model"]
                draft.problem("finetuning_type", what, f"Use a tuner that trains the weights themselves: {', '.join(own)}.")
        if spec.resumes != "none":
            continue
        if draft.value("resume_from_checkpoint"):
            draft.problem("resume_from_checkpoint", f"{spec.name} cannot go on from a checkpoint", "Leave it out.")
        if draft.value("save_strategy") != "no" and not draft.value("save_only_model"):
            what = f"{spec.name} cannot write a checkpoint to resume from"
            draft.problem("save_strategy", what, "Write save_only_model: true, or save_strategy: 'no'")


def _template(draft: Draft) -> None:
    """``template: auto`` needs a template that the tokenizer brings."""
    needs = "templates" in draft.command.picks and not draft.picked("templates") and draft.value("template") in (None, "auto")
    documents = {kind for spec in draft.picked("trainers") for kind in spec.wants} == {"document"}
    wish = draft.models.get("policy")
    if not needs or documents or wish is None or not wish.path:
        return
    folder = find_in(draft, wish.path).folder
    if (
        folder is None
        or (folder / "chat_template.jinja").is_file()
        or "chat_template" in read_json(folder, "tokenizer_config.json")
    ):
        return
    where = "template" if draft.given("template") else "model_name_or_path"
    draft.problem(
        where, f"{wish.path} brings no chat template", "Name one: template: NAME (tunesmith template list shows them)."
    )


def _output(draft: Draft) -> None:
    if "output_dir" in draft.command.requires and draft.value("output_dir"):
        problem = check_output_folder(draft.value, draft.where("output_dir"))
        if problem:
            draft.problems.append(problem)
        elif draft.value("resume_from_checkpoint") and draft.value("do_train"):
            lacking = check_checkpoint(draft.value, draft.where("resume_from_checkpoint"))
            draft.missing += [lacking] if lacking else []


CHECKS: tuple[Check, ...] = (
    _required,
    _something_to_do,
    _precision,
    check_attention,
    _accelerators,
    _masks,
    _validation,
    _streaming,
    _adapters,
    check_further_adapters,
    _optimizer,
    _sharing,
    check_quantized,
    _template,
    _output,
)
