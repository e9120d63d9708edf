"""Everything that a SpeculativeModel becomes."""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.control import control_map
from outrider_operator.resources.disruption import disruption_budget
from outrider_operator.resources.draft import draft_deployment
from outrider_operator.resources.monitoring import monitoring
from outrider_operator.resources.names import draft_name, target_name
from outrider_operator.resources.network import draft_service, target_service
from outrider_operator.resources.placement import draft_in_use
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object
from outrider_operator.resources.route import route
from outrider_operator.resources.security import network_policies, service_account
from outrider_operator.resources.storage import models_claim
from outrider_operator.resources.target import target_deployment


def build(model: SpeculativeModel, platform: Platform) -> list[Object]:
    """The Kubernetes objects of the model, in the order in which they are applied.

    The draft comes first, so that it is on its way up when the target looks for it. Without a draft, or in
    mode Off, there are no objects of one. What the cluster does not serve is left out.
    """
    draft = draft_in_use(model)
    before = [each for each in (models_claim(model), control_map(model)) if each is not None]
    way_in = route(model)
    objects = [service_account(model), *before, *network_policies(model, platform)]
    if draft is not None:
        objects += [
            draft_service(model, platform),
            disruption_budget(model, "draft", draft_name(model)),
            draft_deployment(model, draft, platform),
        ]
    objects += [
        target_service(model),
        disruption_budget(model, "target", target_name(model)),
        target_deployment(model, platform),
        *([] if way_in is None else [way_in]),
        *monitoring(model),
    ]
    return [item for item in objects if platform.serves(item["apiVersion"], item["kind"])]
