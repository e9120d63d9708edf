"""What speculation earns and costs on a machine of some kind, counted in virtual time."""
