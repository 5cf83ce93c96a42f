"""The optimizer behind use_adam_mini: Adam with one second moment for each head or neuron."""
