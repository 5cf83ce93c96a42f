"""Command lines of LLaMA-Factory, read by Tunesmith."""
