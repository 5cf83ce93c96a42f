"""Reward functions of Tunesmith."""
