"""The stage ``rm``: a model that rates answers, learned from pairs; the command ``score``."""
