"""The tracker swanlab: metrics to SwanLab, in the cloud or on this machine."""
