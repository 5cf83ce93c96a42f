"""What the kernel makes of a weight in few bits, as plain numbers: its formats, in words and in torch.

Both have one scale a row, from the row's largest magnitude. Eight bits: ``round(w / s)`` with ``s = max / 127``. Four bits: the
same with ``s = max / 112``, of which the upper half of each byte is kept, rounded away from zero at half (read out of files
that kt-kernel 0.7.2 wrote). Inputs of a layer are rounded to eight bits a token on the way, in both.
"""

from __future__ import annotations

import torch


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """``weight`` (…, out, in) as the kernel holds it, in float32."""
    plain = weight.float()
    if bits == 16:
        return weight.to(torch.bfloat16).float()
    largest = plain.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    if bits == 8:
        scale = largest / 127
        return (plain / scale).round() * scale
    scale = largest / 112
    fine = (plain / scale).round()
    return fine.sign() * ((fine.abs() + 8) / 16).floor() * 16 * scale
