"""Liger's fused kernels, and its chunked losses of preferences."""
