"""Rewards of Acme."""
