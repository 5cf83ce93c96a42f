"""Stands in for LLaMA-Factory's package where that is not installed, so that ``-m llamafactory.train`` starts Tunesmith."""
