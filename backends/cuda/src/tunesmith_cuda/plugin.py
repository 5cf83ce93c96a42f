"""What this package offers: the backend ``cuda``."""

from __future__ import annotations

from tunesmith import BackendSpec, hookimpl

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_backends() -> list[BackendSpec]:
    """NVIDIA devices by CUDA and AMD devices by ROCm: torch calls both ``cuda``."""
    return [
        BackendSpec(
            "cuda",
            "tunesmith_cuda.backend:CudaBackend",
            "NVIDIA devices, and AMD devices by ROCm.",
            probe="tunesmith_cuda.probe:probe",
            preflight="tunesmith_cuda.preflight:preflight",
            priority=100,
            device="cuda",
            visible_devices="CUDA_VISIBLE_DEVICES",
            dtypes=("bfloat16", "float16", "float32"),
            attention=("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"),
            kernels=("triton", "cutlass", "float8"),
            process_group="nccl",
            # Segments that grow leave fewer holes than blocks of fixed size. A value the user set wins.
            environment={
                "DS_ACCELERATOR": "cuda",
                "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
                "TORCH_NCCL_AVOID_RECORD_STREAMS": "1",
            },
        )
    ]
