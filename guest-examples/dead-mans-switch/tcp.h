// A TCP connection that says things and does not listen, over wasi:sockets. Where something fails, `why` says why, in
// words that last. Nothing here waits any longer once the host asks the task to stop.

#pragma once

#include <stdbool.h>
#include <stdint.h>

struct connection;

// Connects to the first of the name's addresses that takes it. `host` is a name or an address. NULL where none does.
struct connection *tcp_connect(const char *host, uint16_t port, const char **why);

// False where the connection is of no use any more.
bool tcp_send(struct connection *connection, const char *text, const char **why);

// Of NULL, too.
void tcp_close(struct connection *connection);
