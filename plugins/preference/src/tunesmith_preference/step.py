"""What the processes of a step have to tell each other about its pairs."""

from __future__ import annotations

from typing import Any

import torch


def of_all_processes(accelerator: Any, rows: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Rows of every process, one after the other, and the place of this process's first row among them.

    Processes may hold different numbers of rows.
    """
    if accelerator.num_processes == 1:
        return rows, 0
    count = torch.tensor([len(rows)], device=rows.device)
    counts = accelerator.gather(count).tolist()
    longest = max(counts)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    table = accelerator.gather(padded)
    parts = [table[i * longest : i * longest + size] for i, size in enumerate(counts)]
    return torch.cat(parts), sum(counts[: accelerator.process_index])
