"""Measuring one trained model: perplexity and bits per byte, latency, memory."""
