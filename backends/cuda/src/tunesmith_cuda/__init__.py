"""The backend cuda: NVIDIA and ROCm devices."""
