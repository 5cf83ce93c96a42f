"""The stage ``ppo`` of Tunesmith."""
