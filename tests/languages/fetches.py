"""Fetches what URLS names, by Python's own HTTP client, which goes over sockets."""

# urllib asks for it when it looks a name up, and by then it is too late to import it.
import encodings.idna
import os
import urllib.request

import wit_world
from wit_world.imports import leadership


class WitWorld(wit_world.WitWorld):
    def on_start_leading(self, term):
        for url in os.environ["URLS"].split():
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    print(f"{url}: {answer.status} {answer.read().decode()}", flush=True)
            except OSError as error:
                print(f"{url}: {error}", flush=True)
        leadership.subscribe_stop().block()
