"""The strategy tensor-parallel: each process computes a slice of every layer, over the same rows."""
