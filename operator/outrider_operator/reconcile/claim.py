"""What an apply says of the size of a claim that somebody has grown. Pure."""

from __future__ import annotations

from outrider_operator.reconcile.difference import thousandths
from outrider_operator.resources.pod import Object


def grown(wanted: Object, live: Object | None) -> Object:
    """The claim with the size that it has, where that is more than is wanted: no server makes one smaller, and its
    refusal would keep back all that comes after the claim.
    """
    if wanted["kind"] != "PersistentVolumeClaim" or live is None:
        return wanted
    has = live["spec"]["resources"]["requests"]["storage"]
    requests = wanted["spec"]["resources"]["requests"]
    if thousandths(has) <= thousandths(requests["storage"]):
        return wanted
    return {**wanted, "spec": {**wanted["spec"], "resources": {"requests": {**requests, "storage": has}}}}
