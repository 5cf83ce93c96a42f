"""Acme's template."""
