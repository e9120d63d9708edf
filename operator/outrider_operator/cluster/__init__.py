"""The commands against a cluster: how a model is, what it does, and what its pods say."""
