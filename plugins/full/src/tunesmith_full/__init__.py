"""The tuners full and freeze: the model's own weights learn."""
