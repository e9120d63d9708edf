"""What a person asks of a cluster: `outrider status`, `top`, `logs`."""
