"""The strategy deepspeed: ZeRO."""
