"""What had a plan made, in the words that the console and the commands share."""

from daemon.ledger.page_values import GenerationLine
from daemon.ledger.values import GenerationKind, PlanCause, PlanTrigger
from daemon.operations.actions import person

NOT_RECORDED = "(not recorded)"  # by a release before 0010 of the ledger, or by somebody's own program


def by_command(command: str, reason: str | None = None) -> PlanCause:
    """A plan that the person of this process asks for by a command."""
    return PlanCause(PlanTrigger.COMMAND, person(), f"{command}: {reason}" if reason else command)


def planned_by(cause: PlanCause | None) -> str:
    """Who or what had a plan made, to stand behind "planned by"."""
    if cause is None:
        return NOT_RECORDED
    actor, why = cause.actor or "somebody", f": {cause.reason}" if cause.reason else ""
    match cause.trigger:
        case PlanTrigger.NIGHTLY:
            return "the nightly schedule"
        case PlanTrigger.URGENT:
            return "the urgent lane's schedule"
        case PlanTrigger.COMMAND:
            return f"{actor}, by hand{why}"
        case PlanTrigger.APPROVAL:
            return f"the nightly schedule, approved by {actor}{why}"


def cause_of_batch(line: GenerationLine) -> str | None:
    """The same of what a batch published; None: no plan stands behind this generation."""
    return planned_by(line.planned_by) if line.kind is GenerationKind.BATCH else None
