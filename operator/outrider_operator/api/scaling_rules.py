"""The rules of spec.autoscaling. As in rules.py, each has a CEL twin in the CRD with the same message."""

from outrider_operator.api.document import Path
from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.api.rule import ROLES, Rule
from outrider_operator.api.v1alpha1 import DraftScaling, Spec, TargetScaling

AUTOSCALING: Path = ("spec", "autoscaling")


def scaled_draft_is_there(spec: Spec) -> bool:
    return spec.autoscaling is None or spec.autoscaling.draft is None or spec.draft is not None


def targets_are_counted_once(spec: Spec) -> bool:
    return not _scales(spec, "target") or spec.target.replicas == 1


def drafts_are_counted_once(spec: Spec) -> bool:
    return not _scales(spec, "draft") or spec.draft is None or spec.draft.replicas == 1


def _scales(spec: Spec, role: str) -> bool:
    """In mode Advisory replicas hold, and both may be given."""
    scaling = spec.autoscaling
    return scaling is not None and scaling.mode == "Active" and getattr(scaling, role) is not None


def least_is_not_most(scaling: TargetScaling | DraftScaling) -> bool:
    return scaling.min_replicas <= scaling.max_replicas


def somebody_answers(scaling: TargetScaling) -> bool:
    return scaling.min_replicas >= 1


def goal_can_be_met(goal: str) -> bool:
    return parse_duration_ms(goal) > 0


SCALING_RULES = (
    Rule(
        (("spec",),),
        scaled_draft_is_there,
        "autoscaling.draft scales a draft that is not there: give spec.draft, or remove autoscaling.draft",
        shown_at=("autoscaling", "draft"),
    ),
    Rule(
        (("spec",),),
        targets_are_counted_once,
        "target.replicas and autoscaling.target both say how many targets there are, and an autoscaler that writes the"
        " model's /scale sets the first: remove one of the two",
        shown_at=("target", "replicas"),
    ),
    Rule(
        (("spec",),),
        drafts_are_counted_once,
        "draft.replicas and autoscaling.draft both say how many drafts there are: remove one of the two",
        shown_at=("draft", "replicas"),
    ),
    Rule(
        tuple((*AUTOSCALING, role) for role in ROLES),
        least_is_not_most,
        "minReplicas is more than maxReplicas: lower the one or raise the other",
        shown_at=("minReplicas",),
    ),
    Rule(
        ((*AUTOSCALING, "target"),),
        somebody_answers,
        "a target at zero needs a gateway that holds requests until a pod is ready, and there is none: set"
        " autoscaling.target.minReplicas to 1 or more",
        shown_at=("minReplicas",),
    ),
    Rule(
        tuple((*AUTOSCALING, "slo", goal) for goal in ("ttftP95", "itlP95")),
        goal_can_be_met,
        "no answer takes no time: give a goal above 0, or remove it",
    ),
)
