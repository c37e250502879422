"""What can go wrong, as classes: the class of an exception says what the caller does about it.

::

    PhotometryError
    ├── TryAgainError            it may pass (disk full, network): stop or requeue, nothing is lost
    ├── TargetError              record and go on: this one target cannot be done, the others can
    │   ├── BadInputError            its input file is truncated, foreign, or holds no usable pixels
    │   ├── TargetNotFoundError      it is not where the TODO-file says
    │   └── TargetTimeoutError       it took longer than its time limit
    ├── NothingToDoError         it is done already, or belongs to another one: becomes SKIPPED
    └── WrongUseError            the user has to change something first: one message, exit code 2
        ├── ArgumentError            a value that is not accepted; also a ValueError
        ├── TodoFileError            not a TODO-file, damaged, or in use by another process
        └── SettingsError            a setting with an unknown name or a value outside its range
"""


class PhotometryError(Exception):
    """Base of all errors that this package raises on purpose."""


class TryAgainError(PhotometryError):
    """The cause lies outside (disk full, network gone): the same call may work later."""


class TargetError(PhotometryError):
    """This target cannot be done; the worker records the reason and goes on with the next."""


class BadInputError(TargetError):
    """The input file of a target is truncated, of a foreign kind, or holds no usable pixels."""


class TargetNotFoundError(TargetError):
    """A target is not where the TODO-file says it is."""


class TargetTimeoutError(TargetError):
    """A target took longer than its time limit."""


class NothingToDoError(PhotometryError):
    """There is nothing to do for this target; it becomes SKIPPED."""


class WrongUseError(PhotometryError):
    """The user has to change something first; command-line tools print the message and exit with
    code 2.
    """


class ArgumentError(WrongUseError, ValueError):
    """An argument with a value that is not accepted; the message names the argument, the value and
    what is accepted.
    """


class TodoFileError(WrongUseError):
    """A file that is not a TODO-file, is damaged, or is in use by another process."""


class SettingsError(WrongUseError):
    """A setting with an unknown name or a value outside its range."""
