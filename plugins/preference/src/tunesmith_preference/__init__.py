"""The stages ``dpo`` and ``kto``: which of two answers is preferred, and which answers were liked."""
