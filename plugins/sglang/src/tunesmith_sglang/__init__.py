"""The inference engine sglang, as a server in a stack of its own."""
