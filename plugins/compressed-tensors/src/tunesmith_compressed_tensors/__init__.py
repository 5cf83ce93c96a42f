"""The quantizer compressed-tensors: reads models in the formats of that library."""
