"""Anthropic's messages, on the same engine calls as OpenAI's chat completions."""
