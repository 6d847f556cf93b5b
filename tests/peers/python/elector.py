"""An elector made with the Python client's leaderelection and its LeaseLock.

It has no way to give a Lease up: on SIGTERM it stops, and the Lease runs out.
"""

import datetime
import os
import signal
import sys
import threading

from kubernetes import config
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

LEADING = threading.Event()


def say(event):
    """In the words of Leasehold's log."""
    at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    print(f'{{"timestamp":"{at}","event":"{event}"}}', flush=True)


def started():
    LEADING.set()
    say("guest-output")


def stopped():
    say("guest-stopped")


def terminated(_signal, _frame):
    raise SystemExit(0)


def seconds(name):
    """Out of "15s"."""
    return int(os.environ[name].removesuffix("s"))


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: elector.py LEASE IDENTITY (and KUBECONFIG and the durations in the environment)")
    signal.signal(signal.SIGTERM, terminated)
    config.load_kube_config(os.environ["KUBECONFIG"])
    say("candidate")
    try:
        leaderelection.LeaderElection(
            electionconfig.Config(
                LeaseLock(sys.argv[1], "default", sys.argv[2]),
                lease_duration=seconds("LEASE_DURATION"),
                renew_deadline=seconds("RENEW_DEADLINE"),
                retry_period=seconds("RETRY_PERIOD"),
                onstarted_leading=started,
                onstopped_leading=stopped,
            )
        ).run()
    except SystemExit:
        if LEADING.is_set():
            stopped()
        raise


main()
