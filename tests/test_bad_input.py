"""What a user sees who names what is not there, or writes what makes no sense: two lines, exit code 2, nothing touched.

Every test runs the real command line; the fixture ``refused`` makes sure of the exit code, that nothing was printed where
results go, that no file changed, and that it was found out before a model could be read.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]

# ---- names of things that are not there ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "what", "instead"),
    [
        ("model_name_or_path=tin", "model_name_or_path: there is no folder tin", "Did you mean 'tiny'?"),
        ("model_name_or_path=run.yaml", "model_name_or_path: run.yaml is a file", "Give its folder"),
        ("model_name_or_path=acme/tiny", "acme/tiny is no folder and not in the hub's cache", "Unset HF_HUB_OFFLINE"),
        ("dataset=row", "there is no dataset 'row' in dataset_info.json", "Did you mean 'rows'?"),
        ("eval_dataset=rowz", "there is no dataset 'rowz' in dataset_info.json", "Did you mean 'rows'?"),
        ("template=qwen33", "There is no template 'qwen33'", "Did you mean 'qwen3'?"),
        ("template=./mine.toml", "there is no template file ./mine.toml", "looked for beside the configuration"),
        ("adapter_name_or_path=tin", "adapter_name_or_path: there is no folder tin", "Did you mean 'tiny'?"),
        ("adapter_name_or_path=tiny", "tiny bears no mark of an installed tuner", "adapter_config.json"),
        ("stage=SFT", "There is no stage 'SFT'", "Did you mean 'sft'?"),
        ("stage=sfft", "There is no stage 'sfft'", "Did you mean 'sft'?"),
        ("finetuning_type=loar", "There is no tuner 'loar'", "Did you mean 'lora'?"),
        ("backend=cudaa", "There is no backend 'cudaa'", "Did you mean 'cuda'?"),
        ("backend=gpu", "There is no backend 'gpu'", "backend: auto picks one that is here. Installed: "),
        ("lora_ranck=4", "there is no key lora_ranck", "Did you mean 'lora_rank'?"),
        ("--lora-ranck=4", "there is no key lora_ranck", "Did you mean 'lora_rank'?"),
        ("resume_from_checkpoint=true", "resume_from_checkpoint: out holds no checkpoint", "to start from the beginning"),
        ("resume_from_checkpoint=out/checkpoint-9", "there is no folder out/checkpoint-9", "out holds no checkpoint"),
    ],
)
def test_what_is_not_there_is_named_with_its_place_and_the_nearest(
    desk: Path, refused: Refused, word: str, what: str, instead: str
) -> None:
    (desk / "tiny").mkdir()
    told = refused(word)
    assert told.startswith("error: command line: ")
    assert what in told
    assert instead in told


def test_the_line_of_a_file_is_named(desk: Path, refused: Refused) -> None:
    text = (desk / "run.yaml").read_text().replace("template: qwen3", "template: qwen33")
    (desk / "bad.yaml").write_text(text)
    number = text.splitlines().index("template: qwen33") + 1
    assert f"error: bad.yaml:{number}: There is no template 'qwen33'" in refused(config="bad.yaml")


def test_a_folder_without_dataset_info(refused: Refused) -> None:
    told = refused("dataset_dir=elsewhere")
    assert "run.yaml:2: There is no elsewhere/dataset_info.json." in told
    assert "Write dataset_dir: the folder that holds dataset_info.json." in told


def test_everything_wrong_is_told_at_once(refused: Refused) -> None:
    told = refused("lora_rank=0", "template=qwen33", "dataset=row", "stage=sfft")
    for word in ("lora_rank", "'qwen33'", "'row'", "'sfft'"):
        assert word in told


def test_a_device_whose_package_is_not_there_says_so_and_nothing_else(refused: Refused) -> None:
    told = refused("backend=npu", command="--without npu train")
    assert "the backend 'npu' is not installed" in told
    assert "It comes with tunesmith-npu" in told
    assert "not used by this run" not in told.replace("belongs to lora", "")


def test_no_such_command_has_the_nearest(refused: Refused) -> None:
    assert refused(command="trian").splitlines() == ["error: There is no command 'trian'.", "  Did you mean 'train'?"]
    assert "Did you mean 'report'?" in refused(command="data reprot")


def test_a_file_in_the_place_of_a_command_says_which_would_take_it(refused: Refused) -> None:
    assert refused(command="", config="run.yaml").splitlines() == [
        "error: run.yaml is no command.",
        "  Write tunesmith train run.yaml; tunesmith plan run.yaml looks first.",
    ]
    assert refused(command="data", config="run.yaml").splitlines() == [
        "error: No such command 'run.yaml'.",
        "  Name what to do with it: tunesmith data preview, tunesmith data report.",
    ]


def test_an_option_that_is_not_there_takes_two_lines_as_well(refused: Refused) -> None:
    assert refused(command="doctor --bakend cpu", config="").splitlines() == [
        "error: No such option '--bakend'. Did you mean '--backend'?",
        "  tunesmith doctor --help shows what there is.",
    ]


def test_a_command_that_another_package_brings_says_so(refused: Refused) -> None:
    told = refused(command="--without webui webui").splitlines()
    assert told == ["error: The command 'webui' is not installed.", "  It comes with tunesmith-webui."]


def test_a_plugin_to_switch_off_that_is_not_there(refused: Refused) -> None:
    told = refused(command="--without lroa train")
    assert "command line: there is no plugin 'lroa'" in told
    assert "Did you mean 'lora'?" in told


def test_commands_say_what_they_cannot_do_without(refused: Refused) -> None:
    for command in ("chat", "chat --prompt hi", "train", "export"):
        told = refused(command=command, config="")
        assert "model_name_or_path is not given" in told
        assert f"{command.split()[0]} needs it: write model_name_or_path: …" in told


def test_an_engine_that_is_not_there(desk: Path, tiny_model: Path, refused: Refused) -> None:
    words = f"chat model_name_or_path={tiny_model} template=qwen3 --prompt hi"
    assert "Did you mean 'huggingface'?" in refused("infer_backend=huggingfac", command=words, config="")
    told = refused("infer_backend=vllm", command=f"--without vllm {words}", config="")
    assert "It comes with tunesmith-vllm" in told


# ---- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "what", "instead"),
    [
        ("rum.yaml", "there is no configuration file rum.yaml", "Did you mean 'run.yaml'?"),
        ("elsewhere/run.yaml", "there is no configuration file elsewhere/run.yaml", "There is no folder elsewhere."),
        ("run", "'run' is neither a configuration file nor an override", "Did you mean 'run.yaml'?"),
        ("folder", "folder is a folder", "Name the configuration file in it"),
        ("folder.yaml", "folder.yaml is a folder", "Name the configuration file in it"),
        ("run.yaml other.yaml", "2 configuration files: run.yaml and other.yaml", "Name one; override with key=value."),
        ("run.yaml lora_rank", "'lora_rank' is neither a configuration file nor an override", "Write lora_rank=VALUE."),
        ("run.yaml lora_rank:8", "'lora_rank:8' is neither a configuration file nor an override", "Write lora_rank=8"),
        ("run.yaml lora_rank = 8", "lora_rank and its value are separate words", "Write lora_rank=8"),
        ("run.yaml lora_rank =8", "lora_rank and its value are separate words", "Write lora_rank=8"),
        ("run.yaml --lora_rank", "--lora_rank needs a value", "Write --lora_rank VALUE"),
    ],
)
def test_a_configuration_that_cannot_be_found(desk: Path, refused: Refused, config: str, what: str, instead: str) -> None:
    (desk / "folder").mkdir()
    (desk / "folder.yaml").mkdir()
    told = refused(config=config)
    assert f"error: command line: {what}" in told
    assert instead in told
    assert len(told.splitlines()) == 2


@pytest.mark.parametrize(
    ("more", "line", "what", "instead"),
    [
        ("seed: 1\nseed: 2\n", 2, "seed is given twice, first at bad.yaml:", "Keep one of them."),
        ("\tseed: 1\n", 1, "this is not YAML", "Indent with spaces."),
        ("lora_target:\n\t- q_proj\n", 2, "this is not YAML", "Indent with spaces."),
        ("lora_target: [q_proj\nseed: 1\n", 2, "this is not YAML", "needs quotes"),
        ("seed: 1\nx: \0\n", 2, "this is not YAML: it holds the control character U+0000", "Remove it."),
        ("lora_alpha:\u00a02\n", 1, "this is not YAML", "a no-break space"),
        ("lora_alpha\uff1a2\n", 1, "this is not YAML", "a wide colon"),
        ("  lora_alpha: 2\n", 1, "this is not YAML", "Begin every key in the first column"),
        ("max_samples: 1,000\n", 1, "max_samples must be a whole number", "Write 1000"),
        ("lr: 1e-4\n", 1, "there is no key lr", "Did you mean 'learning_rate'?"),
        ("target_modules: all\n", 1, "there is no key target_modules", "Did you mean 'lora_target'?"),
        ("lora_alpha:2\n", 1, "this is not YAML", "Write lora_alpha: 2"),
        ("lora_alpha = 2\nseed: 1\n", 1, "this is not YAML", "Write lora_alpha: 2"),
        ("lora_target: 'q_proj\nseed: 1\n", 1, "this is not YAML: a quote is opened and not closed", "Close it."),
        ("lora_alpha: two\n", 1, "lora_alpha must be a whole number", "not two"),
        ("lora_dropout: 2\n", 1, "lora_dropout must be a number, at least 0", "not 2"),
        ("learning_rate: fast\n", 1, "learning_rate must be a number, at least 0", "not fast"),
        ("bf16: maybe\n", 1, "bf16 must be true or false", "not maybe"),
        ("lr_scheduler_type: cosin\n", 1, "lr_scheduler_type must be one of", "Did you mean 'cosine'?"),
        ("allow_drift: datta\n", 1, "allow_drift must be one of", "Did you mean 'data'?"),
        ("val_size: -1\n", 1, "val_size must be a number, at least 0", "not -1"),
    ],
)
def test_a_mistake_in_a_configuration_has_its_line(
    desk: Path, refused: Refused, more: str, line: int, what: str, instead: str
) -> None:
    text = (desk / "run.yaml").read_text()
    (desk / "bad.yaml").write_text(text + more, encoding="utf-8")
    told = refused(config="bad.yaml")
    assert f"bad.yaml:{len(text.splitlines()) + line}: {what}" in told
    assert instead in told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.yaml", b"", "a.yaml: model_name_or_path is not given"),
        ("a.yaml", b"# nothing yet\n", "a.yaml: model_name_or_path is not given"),
        ("a.yaml", b"- a\n- b\n", "a.yaml:1: a configuration has lines of the form `key: value`; this is a list"),
        ("a.yaml", b"hello\n", "this is a single text"),
        ("a.yaml", bytes(range(256)), "a.yaml: this is not a text file in UTF-8"),
        ("a.json", b'{"seed": 1,}', "a.json:1: this is not JSON"),
        ("a.json", b"[]", "a.json:1: this is not JSON: a configuration is one JSON object"),
    ],
    ids=["empty", "comment", "list", "text", "binary", "json", "json list"],
)
def test_a_file_that_is_no_configuration(desk: Path, refused: Refused, name: str, content: bytes, told: str) -> None:
    (desk / name).write_bytes(content)
    assert told in refused(config=name)


@pytest.mark.parametrize(
    ("word", "what", "instead"),
    [
        ("report_to=tensorbord", "report_to: there is no tracker 'tensorbord'", "Did you mean 'tensorboard'?"),
        ("lr_scheduler_type=cosine_with_min_lr", "lr_scheduler_type: cosine_with_min_lr cannot start", "lr_scheduler_kwargs"),
        ("optim=adamw_bnb_8bit", "optim: adamw_bnb_8bit needs a package that is not installed", "pip install"),
    ],
)
def test_values_that_only_the_libraries_can_judge_are_tried_before_the_model_is_read(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, word: str, what: str, instead: str
) -> None:
    if "bnb" in word and importlib.util.find_spec("bitsandbytes"):
        pytest.skip("the package is installed here")
    monkeypatch.setattr("tunesmith.runtime.loading.read_weights", None)
    told = refused(word, loads=True)
    assert what in told
    assert instead in told


def test_a_run_with_nothing_to_do(refused: Refused) -> None:
    assert "command line: do_train, do_eval and do_predict are all off" in refused("do_train=false")


def test_bits_without_a_quantizer(refused: Refused) -> None:
    command = "--only sft,lora,alpaca,cpu,chat-templates,defaults train"
    assert "the quantizer 'bnb' is not installed" in refused("quantization_bit=4", command=command)


def test_a_metric_that_nobody_measures(desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["metric_for_best_model=los", "load_best_model_at_end=true", "val_size=2", "eval_strategy=steps", "eval_steps=1"]
    assert run("train", "run.yaml", *words) == 2
    told = capfd.readouterr().err
    assert "metric_for_best_model: the evaluation knows no los." in told
    assert "Did you mean 'loss'?" in told


# ---- plugins ---------------------------------------------------------------------------------------------------------

HEAD = "from tunesmith import *\nTUNESMITH_API = (1, 0)\n@hookimpl\ndef tunesmith_templates():\n    return "


def install(folder: Path, name: str, source: str) -> None:
    """Lay a distribution with one plugin into a folder, as pip would."""
    info = folder / f"acme_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tunesmith]\n{name} = acme_{name}_plugin\n")
    (folder / f"acme_{name}_plugin.py").write_text(source)


def test_two_plugins_for_one_name_matter_only_to_who_asks(
    desk: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(desk / "site", "twin", HEAD + "[TemplateSpec('qwen3', 'nowhere.toml', 'x')]\n")
    monkeypatch.syspath_prepend(desk / "site")
    told = refused()
    assert "run.yaml:5: 2 plugins offer the template 'qwen3': chat-templates, twin." in told
    assert "Write qwen3@chat-templates or qwen3@twin, or switch one plugin off with --without." in told
    assert "Write qwen3@chat-templates or qwen3@twin." in refused("template=qwen3@twins")
    for fine in (["--without", "twin", "plan", "run.yaml"], ["plan", "run.yaml", "template=qwen3@chat-templates"]):
        assert run(*fine) == 0


def test_a_broken_plugin_that_the_run_needs_is_named_with_its_reason(
    desk: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(desk / "site", "frail", "import frobnicate\n")
    monkeypatch.syspath_prepend(desk / "site")
    reason = "frail (acme-frail 1.0): ModuleNotFoundError: No module named 'frobnicate'"
    for told in (refused("stage=wonder"), refused("wonder_rank=3"), refused(command="wonder")):
        assert "It may belong to a plugin that cannot be loaded: frail" in told
    assert reason in refused("stage=wonder")


def test_a_broken_plugin_that_the_run_does_not_need_is_only_mentioned(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(desk / "site", "frail", "import frobnicate\n")
    monkeypatch.syspath_prepend(desk / "site")
    assert run("plan", "run.yaml", "--json") == 0
    (notice,) = [words for words in json.loads(capsys.readouterr().out)["notices"] if "frail" in words]
    assert "cannot be loaded and is left out: ModuleNotFoundError: No module named 'frobnicate'" in notice


def test_a_local_plugin_is_found_broken_beside_the_configuration(desk: Path, refused: Refused) -> None:
    (desk / "tunesmith_local.py").write_text("def (\n")
    assert "local (tunesmith_local.py unversioned): SyntaxError" in refused("stage=wonder")


def run(*words: str) -> int:
    from tunesmith.cli.main import main

    return main(words)


# ---- models ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(desk: Path, tiny_model: Path) -> Path:
    """A copy of the model, to be damaged."""
    return Path(shutil.copytree(tiny_model, desk / "model"))


def half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def write_index(file: Path) -> None:
    (file.parent / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')


@pytest.mark.parametrize(
    ("name", "harm", "told"),
    [
        ("config.json", Path.unlink, "holds no config.json, so it is no model"),
        ("config.json", half, "config.json cannot be read"),
        ("model.safetensors", Path.unlink, "holds no weights"),
        ("model.safetensors", half, "model.safetensors is damaged: it has"),
        ("model.safetensors", lambda file: file.write_bytes(b""), "is damaged: it is empty, or ends within its header"),
        ("model.safetensors", lambda file: file.write_bytes(b"no" * 500), "is damaged"),
        ("model.safetensors", write_index, "lacks model-2.safetensors"),
        ("tokenizer.json", Path.unlink, "holds no tokenizer.json"),
        ("tokenizer.json", half, "tokenizer.json is no JSON"),
    ],
)
def test_a_damaged_model_is_found_before_it_is_read(
    model: Path, refused: Refused, name: str, harm: Callable[[Path], None], told: str
) -> None:
    harm(model / name)
    assert told in refused("model_name_or_path=model")


def test_a_model_without_any_file_of_a_tokenizer(model: Path, refused: Refused) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    told = refused("model_name_or_path=model")
    assert "model holds no tokenizer: its vocabulary is empty." in told
    assert "Copy the tokenizer's files of the model it came from" in told


def test_a_tokenizer_without_the_tokens_that_end_an_answer(refused: Refused) -> None:
    told = refused("template=llama3")
    assert "has no token '<|eot_id|>'" in told
    assert "of the template 'llama3'" in told
    assert "Pick the template that the model was trained with" in told


def test_a_tokenizer_without_the_marks_of_a_template_is_mentioned(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "report", "run.yaml", "template=deepseek3") == 0
    assert "the tokenizer has no tokens <｜begin▁of▁sentence｜> <｜User｜> <｜Assistant｜>" in capsys.readouterr().out
    assert run("data", "report", "run.yaml") == 0
    assert "has no tokens" not in capsys.readouterr().out


def test_a_model_that_brings_no_template(model: Path, refused: Refused) -> None:
    (model / "chat_template.jinja").unlink()
    told = refused("model_name_or_path=model", "template=auto")
    assert "model brings no chat template" in told
    assert "Name one: template: NAME" in told


def test_a_kind_of_model_that_transformers_does_not_know(model: Path, refused: Refused) -> None:
    (model / "config.json").write_text(json.dumps({**json.loads((model / "config.json").read_text()), "model_type": "qwen33"}))
    told = refused("model_name_or_path=model", loads=True)
    assert "knows no model of type 'qwen33', which model/config.json names" in told
    assert "Did you mean 'qwen3'?" in told


def test_a_device_that_is_not_there(refused: Refused) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have the device")
    told = refused("backend=cuda")
    assert "command line: the backend cuda is not here: there is no NVIDIA driver" in told
    assert "backend: auto picks one that is." in told


# ---- in a process of its own -----------------------------------------------------------------------------------------

WITHOUT_TORCH = """
import json, sys
from tunesmith.cli.main import main
for words in json.loads(sys.argv[1]):
    print("next:", *words, file=sys.stderr)
    assert main(words) == 2
    assert not {"torch", "transformers", "peft"} & set(sys.modules), words
"""


def test_mistakes_are_found_without_importing_torch(desk: Path) -> None:
    (desk / "bad.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction": \n')
    (desk / "dataset_info.json").write_text('{"rows": {"file_name": "rows.jsonl"}, "bad": {"file_name": "bad.jsonl"}}')
    train = ["train", "run.yaml"]
    words = [["nothing"], ["train", "rum.yaml"], [*train, "stage=sfft"], [*train, "model_name_or_path=x/y"]]
    words += [[*train, "dataset=bad"], [*train, "cutoff_len=4"], [*train, "template=llama3"], [*train, "output_dir=run.yaml"]]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, json.dumps(words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == len(words)
