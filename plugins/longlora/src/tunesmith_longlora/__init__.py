"""Shifted groups of attention while a model learns (``shift_attn``), as LongLoRA has them."""
