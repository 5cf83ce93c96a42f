"""The command export: merge adapters, shard, write the template beside the weights."""
