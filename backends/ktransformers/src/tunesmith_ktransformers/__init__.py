"""Experts on the processor: a plugin of Tunesmith."""
