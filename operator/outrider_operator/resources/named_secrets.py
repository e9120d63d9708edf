"""The Secrets that a model names: its owner makes them, before or after the model."""

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.placement import draft_in_use


def secrets_named(model: SpeculativeModel) -> dict[str, str]:
    """The field that names it to the name of each Secret."""
    spec, draft = model.spec, draft_in_use(model)
    route = spec.endpoint.route
    named = {
        "spec.target.model.secretRef": spec.target.model.secret_ref,
        "spec.draft.model.secretRef": None if draft is None else draft.model.secret_ref,
        "spec.endpoint.auth.secretRef": None if spec.endpoint.auth is None else spec.endpoint.auth.secret_ref,
        "spec.endpoint.tls.secretRef": None if spec.endpoint.tls is None else spec.endpoint.tls.secret_ref,
        "spec.endpoint.route.tls.secretRef": None if route is None or route.tls is None else route.tls.secret_ref,
    }
    return {field: reference.name for field, reference in named.items() if reference is not None}
