"""Counts, once a period, what has happened since the last report, and posts it.

EVENTS_URL answers GET ?after=CURSOR&limit=N with {"events": [{"kind": ...}, ...], "cursor": ...}. The cursor and the
number of the report stand in the checkpoint: the next leader, wherever it runs, begins where the last report ended.
"""

import json
import os
from dataclasses import asdict, dataclass
from urllib.parse import quote

import wit_world
from componentize_py_types import Err
from wit_world.imports import checkpoint, leadership, monotonic_clock, poll, progress

import http_client

PAGE_EVENTS = 500


@dataclass
class State:
    """What the checkpoint has."""

    cursor: str = ""
    reports: int = 0

    @staticmethod
    def load():
        saved = checkpoint.load()
        return State() if saved is None else State(**json.loads(saved))

    def save(self):
        checkpoint.save(json.dumps(asdict(self)).encode())


class WitWorld(wit_world.WitWorld):
    def on_start_leading(self, term):
        events_url, report_url, every_ns = from_environment()
        stop = leadership.subscribe_stop()
        state = State.load()
        print(f"begins at {state.cursor or 'the beginning'}, token {term.token}", flush=True)
        while leadership.stop_requested() is None:
            try:
                state = report(events_url, report_url, state, term)
            except (http_client.Failed, Err) as error:
                # The next period's report has what this one should have had.
                print(f"no report: {error}", flush=True)
            progress.report(f"{state.reports} reports")
            poll.poll([stop, monotonic_clock.subscribe_duration(every_ns)])
        print(f"asked to stop: {leadership.stop_requested().name}", flush=True)


def report(events_url, report_url, state, term):
    """Reads all that is new, posts the counts, and returns the state that was saved."""
    counts, cursor = {}, state.cursor
    while True:
        answer = http_client.get_json(f"{events_url}?after={quote(cursor)}&limit={PAGE_EVENTS}")
        for event in answer["events"]:
            counts[event["kind"]] = counts.get(event["kind"], 0) + 1
        cursor = answer["cursor"]
        if len(answer["events"]) < PAGE_EVENTS:
            break
    number = state.reports + 1
    # Its number makes a report that comes twice, when a leader ends before it could save, one.
    body = {"report": number, "token": term.token, "after": state.cursor, "until": cursor, "counts": counts}
    http_client.put_json(f"{report_url}/{number}", body)
    state = State(cursor, number)
    state.save()
    print(f"report {number}: {sum(counts.values())} events", flush=True)
    return state


def from_environment():
    missing = [name for name in ("EVENTS_URL", "REPORT_URL") if not os.environ.get(name)]
    if missing:
        raise Err(f"{' and '.join(missing)} must be set")
    every = os.environ.get("EVERY_SECONDS", "60")
    try:
        every_ns = int(float(every) * 1e9)
    except ValueError:
        raise Err(f"EVERY_SECONDS={every}: expected a number of seconds") from None
    return os.environ["EVENTS_URL"], os.environ["REPORT_URL"], every_ns
