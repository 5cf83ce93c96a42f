"""The only part of the host that may import torch."""
