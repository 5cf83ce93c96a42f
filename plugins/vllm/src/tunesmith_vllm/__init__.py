"""The inference engine vllm, as a server in a stack of its own."""
