"""Acme's tuner."""
