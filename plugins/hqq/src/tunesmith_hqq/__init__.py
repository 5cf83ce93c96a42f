"""The quantizer hqq: weights in one to eight bits, without calibration."""
