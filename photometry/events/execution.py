"""Running one action: pre-condition, action, post-condition, and what follows from each."""

from ..errors import NothingToDoError, TryAgainError
from .event import OUTCOME


def execute(framework, action, context):
    """Run an action, push its next event and set the state. ``action.outcome`` and ``action.error`` say how it went.

    An exception sets the state to "stop" and calls the hook `on_error`; in testing mode it is raised again.
    """
    try:
        _execute(framework, action, context)
    except (NothingToDoError, TryAgainError) as error:
        action.outcome = OUTCOME.SKIPPED if isinstance(error, NothingToDoError) else OUTCOME.RETRY
        action.error = str(error)
        framework.event_queue_hi.clear()  # the rest of the item is dropped with it
    except (
        Exception,
        SystemExit,
    ) as error:  # what calls sys.exit in an action ends its item, not the run
        _failed(action, f"{type(error).__name__}: {error}", context)
        framework.logger.error(
            "Action %s failed: %s", action.name, action.error, exc_info=framework.config.print_trace
        )
        if framework.testing:
            raise
        framework.on_error(action, context, error)


def _execute(framework, action, context):
    pipeline = framework.pipeline
    if not pipeline.get_pre_action(action.name)(action, context):
        _pre_condition_failed(framework, action, context)
        return
    action.output = pipeline.get_action(action.name)(action, context)
    framework.store_arguments = action.args if action.output is None else action.output
    if action.failed_check == "pre":
        _pre_condition_failed(framework, action, context)
    elif action.failed_check == "post" or not pipeline.get_post_action(action.name)(
        action, context
    ):
        _failed(action, f"the post-condition of {action.name} is not met", context)
    else:
        _succeeded(framework, action, context)


def _succeeded(framework, action, context):
    action.outcome = OUTCOME.DONE
    if action.new_event is not None:
        framework.push_event(action.new_event, framework.store_arguments)
    if action.next_state is not None:
        context.state = action.next_state


def _pre_condition_failed(framework, action, context):
    reason = f"the pre-condition of {action.name} is not met"
    if framework.config.pre_condition_failed_stop:
        framework.halt = True
        _failed(action, reason, context)
    else:
        framework.store_arguments = action.args
        action.outcome, action.error = OUTCOME.SKIPPED, reason


def _failed(action, reason, context):
    action.outcome, action.error = OUTCOME.FAILED, reason
    context.state = "stop"
