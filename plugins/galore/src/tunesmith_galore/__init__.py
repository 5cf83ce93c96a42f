"""The optimizer behind use_galore: Adam on gradients projected to few dimensions."""
