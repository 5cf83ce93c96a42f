"""The quantizer eetq: weights in eight bits on a GPU."""
