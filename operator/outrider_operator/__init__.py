"""The operator and command line of Outrider."""
