from tunesmith.runtime.device_module import DeviceModuleBackend
from tunesmith.testing.emulator import emulate

from acme_backend.probe import MEMORY, cards


class AcmeBackend(DeviceModuleBackend):
    kind, maker, visible = "acme", "Acme", "ACME_VISIBLE_DEVICES"
    dtypes = ("bfloat16", "float32")

    def find_module(self):
        return emulate("acme", devices=cards(), memory=MEMORY, process_group="acme-link")

    def ways(self):
        yield "a smaller per_device_train_batch_size"
        yield "a larger card"
