"""The inference engine huggingface: generation by transformers."""
