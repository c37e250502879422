"""`Framework`: takes one event at a time, makes it an action by the pipeline's table, and runs it.
`ProcessingContext`: what a primitive sees of the run; `create_context`: one without a Framework."""

import logging
import os
import threading
import time
from queue import Empty

from ..errors import SettingsError, TryAgainError, WrongUseError
from ..processes import draining
from .config import ConfigClass, getLogger
from .dataset import DataSet
from .event import OUTCOME, Action, Arguments, Event
from .interface import open_event_queue
from .loop import Loop, OutcomeCounts, execute
from .pipeline import find_pipeline
from .queues import SimpleEventQueue

# as everywhere in this package
EXIT_OK, EXIT_FAILED, EXIT_UNFINISHED = 0, 1, 3


class ProcessingContext:
    """The queues, the logger and the configuration; users hang anything else on it.

    Attributes
    ----------
    state : str, free text, set by the event table
    data_set : DataSet or None
    item : the low-priority Event that is being worked on, or None
    """

    def __init__(self, event_queue, event_queue_hi, logger, config):
        self.name = "ProcessingContext"
        self.state = "Undefined"
        self.event_queue = event_queue
        self.event_queue_hi = event_queue_hi
        self.logger = logger
        self.config = config
        self.data_set = None
        self.item = None
        self.debug = False

    def push_hi_event(self, name, args):
        """Add a step to the item being worked on: the end of the high-priority queue of this
        process."""
        self.event_queue_hi.put(Event(name, args))

    push_event = push_hi_event

    def append_event(self, name, args=None, recurrent=False):
        """Add an item: the end of the low-priority queue.

        Parameters
        ----------
        name : str, an event
        args : Arguments, dict or Namespace; None: empty
        recurrent : bool, whether it comes again after it was done
        """
        self.event_queue.put(Event(name, Arguments() if args is None else args, recurrent))


def create_context(event_queue=None, event_queue_hi=None, logger=None, config=None):
    """A context with defaults for what is not given, to run primitives by hand.

    Parameters
    ----------
    event_queue, event_queue_hi : queues; by default in memory
    logger : logging.Logger; by default that named DRPF
    config : ConfigClass; by default that of no file
    """
    return ProcessingContext(
        SimpleEventQueue() if event_queue is None else event_queue,
        SimpleEventQueue() if event_queue_hi is None else event_queue_hi,
        logger or logging.getLogger("DRPF"),
        ConfigClass() if config is None else config,
    )


class Framework:
    """The event loop.

    Parameters
    ----------
    pipeline_name : a pipeline: an instance, class, module, dotted or bare name, or a Python file
    configFile : name of an INI file, a ConfigClass, or None for the defaults
    testing : bool, raise the exceptions of actions again

    Attributes
    ----------
    on_exit, on_state, on_error : the hooks; assign functions with the signatures of the
        ``default_…`` methods
    context : ProcessingContext that every action gets
    tally : loop.OutcomeCounts, what became of the items so far
    keep_going : bool, set it to False to end after the present item
    store_arguments : the last output of an action

    Raises
    ------
    WrongUseError : the pipeline cannot be found, or its table is wrong; all that is wrong is
        reported at once
    SettingsError : the configuration is missing or says something outside what is accepted
    """

    def __init__(self, pipeline_name, configFile=None, testing=False):
        is_path = isinstance(configFile, (str, os.PathLike))
        self.config = ConfigClass(configFile) if configFile is None or is_path else configFile
        self.config.check()
        self.testing = testing
        self.logger = getLogger(self.config.logger_config_file, name="DRPF")
        self.logger.debug("Framework in %s", os.getcwd())
        self.wait_for_event = False
        self.keep_going = True
        self.event_queue_hi = SimpleEventQueue()
        self.event_queue, self.queue_manager = open_event_queue(self.config)
        self.on_exit, self.on_state, self.on_error = (
            self.default_on_exit,
            self.default_on_state,
            self.default_on_error,
        )
        self.context = ProcessingContext(
            self.event_queue, self.event_queue_hi, self.logger, self.config
        )
        self.pipeline = self._make_pipeline(pipeline_name)
        self.store_arguments = Arguments()
        self.tally = OutcomeCounts()
        # a pre-condition that was not met asked to stop the run
        self.halt = False
        # the last run ended because there was nothing more to do
        self.ran_out = False
        # after a request to stop: until when the steps of the present item may go on
        # (time.monotonic)
        self.stop_at = float("inf")
        self._thread = None

    def _make_pipeline(self, name):
        pipeline = find_pipeline(name, self.config.pipeline_path, self.context, self.logger)
        if pipeline.context is None:
            pipeline.bind(self.context)
        if isinstance(self.config.event_table, dict) and isinstance(pipeline.event_table, dict):
            # rows in the configuration overrule those of the class
            pipeline.event_table = {**pipeline.event_table, **self.config.event_table}
        if problems := pipeline.problems():
            raise WrongUseError(f"{type(pipeline).__name__}: " + "; ".join(problems))
        if isinstance(self.config.no_event_event, str):
            self._check_event("no_event_event", pipeline)
        return pipeline

    # events in

    def append_event(self, event_name, args=None, recurrent=False):
        """Add an item to the end of the low-priority queue; ``args=None`` means the last output.

        Parameters
        ----------
        event_name : str, in the event table
        args : Arguments, dict or Namespace
        recurrent : bool, whether it comes again after it was done
        """
        self.event_queue.put(
            Event(event_name, self.store_arguments if args is None else args, recurrent)
        )

    def push_event(self, event_name, args):
        """Add a step to the end of the high-priority queue."""
        self.logger.debug("Push event %s, %s", event_name, getattr(args, "name", None))
        self.event_queue_hi.put(Event(event_name, args))

    _push_event = push_event

    def ingest_data(self, path=None, files=None, monitor=False, clobber=False):
        """Add files to the data set, which puts an event for each on the queue.

        Parameters
        ----------
        path : directory to take files from, or None
        files : one name or several
        monitor : bool, go on taking files as they arrive in the directory
        clobber : bool, take files again that the queue on disk remembers as done
        """
        self._check_event("default_ingestion_event", self.pipeline)
        if path is not None:
            self.config.data_directory = os.path.abspath(path)
        data_set = self.context.data_set
        if data_set is None:
            data_set = self.context.data_set = DataSet(
                path, self.logger, self.config, self.event_queue, scan=False
            )
            data_set.clobber = clobber
            if path is not None and not monitor:
                data_set.update_data_set()
        for name in (files,) if isinstance(files, (str, os.PathLike)) else files or ():
            data_set.append_item(os.fspath(name))
        if monitor:
            if data_set.dirname is None:
                raise SettingsError("monitor: no directory was given to watch")
            data_set.start_monitor()

    def _check_event(self, key, pipeline):
        """Refuse a key of the configuration that names an event which the pipeline does not
        have."""
        name, tables = getattr(self.config, key), (pipeline.event_table, pipeline.event_table0)
        if not any(name in table for table in tables):
            raise SettingsError(
                f"{key}={name!r} is not an event of {type(pipeline).__name__}; its "
                f"events: {', '.join(tables[0])}"
            )

    def get_pending_events(self):
        """(list of the low-priority queue, list of the high-priority queue)"""
        return self.event_queue.get_pending(), self.event_queue_hi.get_pending()

    def get_event(self):
        """The next event: of the high-priority queue, else of the low one, else the event for 'no
        event', else None."""
        try:
            return self.event_queue_hi.get(block=False)
        except Empty:
            pass
        try:
            event = self.event_queue.get(block=True, timeout=self.config.event_timeout)
            self.wait_for_event = False
            return event
        except Empty:
            event = "no_event" if self.wait_for_event else self.config.no_event_event
        if isinstance(event, str):
            event = Event(event)
        if event is not None:
            event.args = Arguments(name=event.name, time=time.ctime())
        return event

    # one action

    def event_to_action(self, event, context):
        """The Action for an event, by the pipeline's table."""
        return Action(event, self.pipeline.event_to_action(event, context), event.args)

    def execute(self, action, context):
        """Run an action; see `loop.execute`."""
        execute(self, action, context)

    # the loop

    def main_loop(self):
        """Run events in this thread until there are none left or a signal comes. Returns the exit
        status.

        May be called again when there are new events.

        In the main thread, the first SIGINT or SIGTERM lets the present item finish, for
        ``stop_grace`` s, then its present step, and ends the loop; the second one breaks off at
        once and raises KeyboardInterrupt. An item that was not finished goes back to its queue."""
        if self.ran_out:
            self.ran_out, self.keep_going = False, True
        self.stop_at = float("inf")
        try:
            with draining(self.stop):
                Loop(self).run()
            return self.status()
        except TryAgainError as error:
            # the queue has been gone for longer than queue_patience
            self.logger.error("%s; given up after %s s", error, self.config.queue_patience)
            return EXIT_UNFINISHED
        finally:
            self._finish_run()

    def _finish_run(self):
        if self.context.data_set is not None:
            self.context.data_set.stop_monitor()
        if finish_run := getattr(self.pipeline, "finish_run", None):
            finish_run(self.context)
        for line in self.tally.report():
            self.logger.info(line)
        if self.event_queue.shared:
            self.event_queue.close()

    def stop(self, why=None):
        """End after the present item. May be called from a signal handler and from any thread."""
        self.stop_at = time.monotonic() + self.config.stop_grace
        self.keep_going = self.ran_out = False
        self.event_queue.interrupt()

    def status(self):
        """The exit status so far: 0 all done, 1 some failed, 3 something is left to do."""
        if self.tally.counts[OUTCOME.FAILED]:
            return EXIT_FAILED
        return EXIT_UNFINISHED if self.event_queue.qsize() else EXIT_OK

    # starting and ending

    def start(
        self,
        qm_only=False,
        ingest_data_only=False,
        wait_for_event=False,
        continuous=False,
        *,
        wait_for_events=False,
    ):
        """Run the loop in this thread, call `on_exit` and return the exit status.

        Parameters
        ----------
        qm_only : bool, process nothing, wait until a signal comes
        ingest_data_only : bool, give the queue back and return: its events are for others
        wait_for_event, wait_for_events : bool, wait for the first event instead of ending
        continuous : bool, never end by itself
        """
        if qm_only:
            self.logger.info("Queue only, no processing")
            self.wait_for_ever()
            return EXIT_OK
        if ingest_data_only:
            self.end()
            return EXIT_OK
        if continuous:
            self.config.no_event_event = Event("no_event")
        self.wait_for_event = wait_for_event or wait_for_events
        status = self.main_loop()
        self.on_exit(status)
        return status

    def start_action_loop(self):
        """Run the loop in a thread named ``action_loop`` and return it; `on_exit` is called there
        at the end."""
        self._thread = threading.Thread(name="action_loop", target=self._run_thread)
        self._thread.start()
        return self._thread

    def _run_thread(self):
        self.on_exit(self.main_loop())

    def wait_for_ever(self):
        """Wait until the loop in the thread has ended; without one, until `keep_going` is false."""
        with draining(self.stop):
            while self._thread.is_alive() if self._thread else self.keep_going:
                time.sleep(0.1) if self._thread is None else self._thread.join(0.1)

    def init_signal(self):
        """Signals are handled while the loop runs, and given back after it; nothing to do
        before."""

    def end(self):
        """Give the low-priority queue back."""
        self.event_queue.close()

    # hooks

    def default_on_exit(self, status=0):
        """Called once after the loop, with the exit status. Ends the program with it unless it is
        0."""
        if status:
            raise SystemExit(status)

    def default_on_state(self, action, context):
        """Called after every action. A state "stop" becomes "ready", so that the run goes on with
        the next item."""
        if context.state == "stop" and not self.halt:
            context.state = "ready"

    def default_on_error(self, action, context, exception):
        """Called for an exception in an action, or anywhere in the turn. The log has it already.

        Parameters
        ----------
        action : Action, or None outside of one
        context : ProcessingContext
        exception : Exception
        """
