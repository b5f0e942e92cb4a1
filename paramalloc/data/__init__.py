"""From text to batches: corpora, the tokenizer, cached tokens, and what a training step is fed."""
