"""The addresses of the cluster with pods, all of them on this machine: no route leads out of it."""

HOST = "10.246.0.1"  # this machine's end of the wire
NODE = "10.246.0.2"  # the node's
WIRE_BITS = 30
PODS = "10.244.0.0/16"
NODE_PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
DNS = "10.96.0.10"
DOMAIN = "cluster.local"
NODE_NAME = "node1"
