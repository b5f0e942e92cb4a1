"""SmallBench: zero-shot multiple-choice probes scored by log-likelihood, as lm-evaluation-harness scores them."""
