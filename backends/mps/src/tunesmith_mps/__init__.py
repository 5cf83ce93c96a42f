"""The backend mps: the graphics processor of Apple silicon."""
