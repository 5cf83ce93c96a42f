"""Cross-entropy without all logits at once: chunked_cross_entropy."""
