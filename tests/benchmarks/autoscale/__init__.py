"""The autoscaler against others on recorded traffic and simulated pods: attainment, GPU-hours, flips."""
