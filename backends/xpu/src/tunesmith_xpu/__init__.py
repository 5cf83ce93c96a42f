"""The backend xpu: graphics processors of Intel."""
