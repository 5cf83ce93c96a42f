"""Load and train through unsloth, in a stack of its own: use_unsloth."""
