"""The dataset formats sharegpt and openai: lists of messages."""
