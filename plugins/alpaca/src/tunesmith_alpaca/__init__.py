"""The dataset format alpaca: instruction, input, output."""
