"""Runs while this replica leads."""

import wit_world
from wit_world.imports import leadership, monotonic_clock, poll

PAUSE_NS = 1_000_000_000


class WitWorld(wit_world.WitWorld):
    # To fail, raise componentize_py_types.Err("..."): any other exception ends as a trap.
    def on_start_leading(self, term):
        stop = leadership.subscribe_stop()
        round = 0
        while True:
            round += 1
            # The work comes here. Send the token along with what is written, and let the receiver refuse lower ones.
            print(f"round {round}, token {term.token}", flush=True)

            poll.poll([stop, monotonic_clock.subscribe_duration(PAUSE_NS)])
            reason = leadership.stop_requested()
            if reason is not None:
                print(f"asked to stop: {reason.name}", flush=True)
                return
