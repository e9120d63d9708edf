"""What both roles stand on: model forward, KV cache, trees, sampling. Knows nothing of HTTP, gRPC or Kubernetes."""
