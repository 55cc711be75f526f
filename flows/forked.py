"""A process that has Prefect and our flows imported, and forks for every run: importing them anew was most of what a device's run cost.

    python -m flows.forked CHANNEL        # as flows/forks.py starts it

A message on the channel is one run: what its environment has more than ours, and a socket. On that socket go the run's process number
and, when it has ended, its exit code. Whoever holds the other end of the channel ends us by letting go of it; runs go on.
"""

import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress

MOST_BYTES = 1 << 17  # of an environment


def main() -> None:
    """Fork until nobody can ask any more; in a fork, run the flow run."""
    import prefect.engine
    import prefect.flow_engine  # noqa: F401

    from flows import registered

    for entrypoint in registered.REGISTERED:
        registered.load(entrypoint)
    channel = socket.socket(fileno=int(sys.argv[1]))
    gc.freeze()  # what is imported is left alone, so that forks share it
    signal.signal(signal.SIGCHLD, reap)
    while True:
        message, sockets, _, _ = socket.recv_fds(channel, MOST_BYTES, 1)
        if not message:
            return
        answers = socket.socket(fileno=sockets[0])
        if os.fork() == 0:
            channel.close()
            fork_and_wait(answers)
            os.environ.update(json.loads(message))
            return registered.main()
        answers.close()


def reap(*_: object) -> None:
    """Take leave of those who waited for runs."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def fork_and_wait(answers: socket.socket) -> None:
    """Return in a fork, the run: a group of its own, as every process that a worker starts. Out of it, tell how it ends, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    run = os.fork()
    os.setpgid(run, run)  # in both: neither knows who comes first
    if not run:
        return answers.close()
    with suppress(ConnectionError):  # a worker that ended
        answers.sendall(b"%d\n" % run)
        _, status = os.waitpid(run, 0)
        answers.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


if __name__ == "__main__":
    main()
