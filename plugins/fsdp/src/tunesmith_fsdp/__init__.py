"""The strategy fsdp: weights, gradients and optimizer in parts, by torch's fully_shard."""
