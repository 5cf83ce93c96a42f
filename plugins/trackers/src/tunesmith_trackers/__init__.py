"""The tracker swanlab, and the packages of those that transformers knows itself."""
