"""`outrider replay`: a trace against simulated pods, scaled by the autoscaler that the operator runs, or by others."""
