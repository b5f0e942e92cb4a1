"""paramalloc: how should a small language model spend its parameters? An honest sweep answers."""

__version__ = "0.1.0"
