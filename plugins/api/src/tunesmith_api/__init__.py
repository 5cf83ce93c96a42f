"""The command api: an OpenAI-compatible server."""
