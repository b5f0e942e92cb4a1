"""Training one model: numerics by device, optimiser and schedule, checkpoints, the step loop."""
