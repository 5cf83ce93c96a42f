"""The accelerator behind use_unsloth_gc: checkpointed activations wait in CPU memory."""
