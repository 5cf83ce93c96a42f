"""The stages pt and sft: learn from text and from conversations."""
