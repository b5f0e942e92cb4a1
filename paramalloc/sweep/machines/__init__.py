"""Ray and the machines under it: starting or finding it, who is there, what each costs, and the end of a cluster."""
