"""The stages ``grpo`` and ``rloo`` of Tunesmith."""
