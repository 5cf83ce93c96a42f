"""Tuners that learn virtual tokens in front of every text: prefix, prompt, p_tuning and multitask."""
