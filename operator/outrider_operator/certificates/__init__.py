"""Who may draft: a certificate authority of each namespace, and a certificate for each role of a model. No I/O."""
