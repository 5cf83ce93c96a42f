"""The launcher ray: the processes of a run as workers of a Ray cluster."""
