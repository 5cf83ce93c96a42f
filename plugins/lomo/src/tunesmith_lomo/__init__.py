"""The optimizers lomo and adalomo: weights move within the backward pass."""
