"""Templates of text chat models."""
