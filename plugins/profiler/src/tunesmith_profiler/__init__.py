"""The tracker profiler: where the time of some training steps goes."""
