"""The optimizer behind use_badam: Adam on one block of layers, or a share of all weights, at a time."""
