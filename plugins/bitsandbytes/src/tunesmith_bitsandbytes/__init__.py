"""The quantizer bitsandbytes: weights in four or eight bits."""
