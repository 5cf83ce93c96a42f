"""Graphics processors of Intel as the device of a run. Importing this module touches no device."""

from __future__ import annotations

from typing import ClassVar

from tunesmith.runtime.device_module import DeviceModuleBackend


class XpuBackend(DeviceModuleBackend):
    """Computes on the device of each process's local rank."""

    kind, maker, visible = "xpu", "Intel", "ZE_AFFINITY_MASK"
    exhausted = ("xpu out of memory", "ur_result_error_out_of_device_memory", "ur_result_error_out_of_resources")
    known_errors: ClassVar = {"aspect fp64": "This device has no float64: whatever asked for it has to do with float32."}
