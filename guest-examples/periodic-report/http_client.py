"""JSON over wasi:http. (urllib goes over sockets, which a task has only where its config allows them.)"""

import json
from urllib.parse import urlsplit

from componentize_py_types import Err
from wit_world.imports import leadership, outgoing_handler, poll
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.wasi_http_types import (
    Fields,
    Method_Get,
    Method_Put,
    OutgoingBody,
    OutgoingRequest,
    Scheme_Http,
    Scheme_Https,
)

READ_BYTES = 64 * 1024
# blocking_write_and_flush takes no more.
WRITE_BYTES = 4096


class Failed(Exception):
    """No answer, or another one than was hoped for."""


def get_json(url):
    return json.loads(_ask(Method_Get(), url))


def put_json(url, value):
    _ask(Method_Put(), url, json.dumps(value).encode())


def _ask(method, url, body=b""):
    try:
        status, answer = _send(method, url, body)
    except Err as error:
        raise Failed(f"{url}: {error.value}") from None
    if not 200 <= status <= 299:
        raise Failed(f"{url}: {status} {answer[:200].decode(errors='replace')}")
    return answer


def _send(method, url, body):
    parts = urlsplit(url)
    headers = Fields.from_list(
        [("content-type", b"application/json"), ("content-length", str(len(body)).encode())] if body else []
    )
    request = OutgoingRequest(headers)
    request.set_method(method)
    request.set_scheme(Scheme_Https() if parts.scheme == "https" else Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
    outgoing = request.body()
    future = outgoing_handler.handle(request, None)
    with outgoing.write() as stream:
        for begin in range(0, len(body), WRITE_BYTES):
            stream.blocking_write_and_flush(body[begin : begin + WRITE_BYTES])
    OutgoingBody.finish(outgoing, None)

    with future.subscribe() as ready, leadership.subscribe_stop() as stop:
        poll.poll([ready, stop])
    result = future.get()
    if result is None:
        raise Failed(f"{url}: asked to stop")
    # Whether it was taken before, and whether there is an answer.
    if isinstance(result, Err):
        raise result
    if isinstance(result.value, Err):
        raise result.value
    with result.value.value as response:
        return response.status(), _read(response.consume())


def _read(body):
    pieces = []
    with body, body.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(READ_BYTES))
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return b"".join(pieces)
                raise Failed(error.value.value.to_debug_string()) from None
