"""`BasePrimitive`: a primitive as a class, with its pre- and post-condition inside."""


class BasePrimitive:
    """Subclasses override `_perform` and, if they like, `_pre_condition` and `_post_condition`.

    Attributes
    ----------
    action : Action, with ``action.args``
    context : ProcessingContext
    output : what `_perform` returned; the action's arguments before
    """

    def __init__(self, action, context):
        self.action = action
        self.context = context
        self.output = action.args
        self.logger = context.logger
        self.config = context.config

    def _pre_condition(self):
        return True

    def _perform(self):
        """Do the work and return Arguments, new ones or those of the action, for the next event."""
        raise NotImplementedError(f"{type(self).__name__} does not define _perform()")

    def _post_condition(self):
        return True

    def apply(self):
        """Check, perform, check. Returns the output; None if one of the checks said no.

        An exception is logged with its traceback and raised again.
        """
        try:
            if not self._pre_condition():
                return self._refused("pre")
            self.output = self._perform()
            return self.output if self._post_condition() else self._refused("post")
        except Exception:
            self.logger.exception("%s failed", type(self).__name__)
            raise

    __call__ = apply

    def _refused(self, check):
        self.action.failed_check = check
