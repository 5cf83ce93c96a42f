"""What this package offers."""

from __future__ import annotations

from tunesmith import SourceSpec, hookimpl
from tunesmith.specs import Switch

TUNESMITH_API = (1, 0)

#: Schemes of stores that fsspec reaches, each by a package of its own; nothing that is on this machine.
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "hdfs", "webhdfs", "http", "https")


@hookimpl
def tunesmith_sources() -> list[SourceSpec]:
    """One source to each hub, one for all object stores, and one that says why scripts are not run."""
    return [
        SourceSpec(
            "huggingface",
            "tunesmith_hubs.datasets:HuggingFaceRows",
            "Datasets of the Hugging Face Hub.",
            key="hf_hub_url",
        ),
        SourceSpec(
            "modelscope",
            "tunesmith_hubs.datasets:ModelScopeRows",
            "Datasets and models of ModelScope.",
            options="tunesmith_hubs.options:ModelScopeOptions",
            needs=("modelscope_hub",),
            key="ms_hub_url",
            switch=Switch("use_modelscope_hub"),
            models="tunesmith_hubs.models:modelscope_models",
        ),
        SourceSpec(
            "modelers",
            "tunesmith_hubs.datasets:ModelersRows",
            "Datasets and models of Modelers, the hub of openMind.",
            options="tunesmith_hubs.options:ModelersOptions",
            needs=("openmind_hub",),
            key="om_hub_url",
            switch=Switch("use_openmind_hub"),
            models="tunesmith_hubs.models:modelers_models",
        ),
        SourceSpec(
            "cloud",
            "tunesmith_hubs.datasets:ObjectStoreRows",
            "Files and models of object stores: s3://, gs://, az://, oss:// and more.",
            key="cloud_file_name",
            schemes=STORES,
            models="tunesmith_hubs.models:object_store_models",
        ),
        SourceSpec(
            "script",
            "tunesmith_hubs.scripts:Script",
            "Loading scripts, which are refused: code that comes with data is not run.",
            key="script_url",
            files="tunesmith_hubs.scripts:refuse",
        ),
    ]
