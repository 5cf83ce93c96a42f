import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Memory
from tunesmith.testing.emulator import emulate

from acme_backend.probe import MEMORY, cards

DTYPES = {"auto": torch.bfloat16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class AcmeBackend(Backend):
    def __init__(self, plan):
        self._cards = emulate("acme", devices=cards(), memory=MEMORY, process_group="acme-link")

    def device(self, local_rank=0):
        if local_rank >= self._cards.device_count():
            raise TunesmithError(f"There is no card for local rank {local_rank}.", "Start fewer processes.")
        return torch.device("acme", local_rank)

    def dtype(self, wanted):
        if wanted not in DTYPES:
            raise TunesmithError(f"The cards of Acme do not compute in {wanted}.", "Write bf16: true.")
        return DTYPES[wanted]

    def seed(self, seed):
        self._cards.manual_seed_all(seed)

    def rng_state(self):
        return {"acme": self._cards.get_rng_state()}

    def set_rng_state(self, state):
        self._cards.set_rng_state(state["acme"])

    def memory(self, local_rank=0):
        device = self.device(local_rank)
        return Memory(
            self._cards.memory_allocated(device), self._cards.max_memory_allocated(device), *self._cards.mem_get_info(device)
        )

    def empty_cache(self):
        self._cards.empty_cache()

    def synchronize(self):
        self._cards.synchronize()

    def autocast(self, dtype):
        return torch.autocast("acme", dtype=dtype, enabled=dtype != torch.float32)

    def advice(self, error):
        if isinstance(error, torch.OutOfMemoryError):
            return "Write a smaller per_device_train_batch_size, or buy a larger card."
        return ""
