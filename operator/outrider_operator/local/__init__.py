"""`outrider up`: runs the containers that the operator would apply as processes of this machine.

The builders, the resource and the autoscaler's decisions are the cluster's own; this package is the laptop's kubelet
and its Service. Left out of a kubelet's work are images, networks, memory limits, and liveness probes: a process is
restarted when it ends.
"""
