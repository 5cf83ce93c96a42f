"""The attention kernels that flash_attn names: fa2, fa3 and flex."""
