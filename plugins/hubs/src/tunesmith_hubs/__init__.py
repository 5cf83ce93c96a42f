"""Datasets and models from hubs and object stores."""
