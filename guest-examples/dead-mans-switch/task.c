// Tells a monitor, again and again, that somebody leads. When it hears nothing any more, it raises the alarm: that is the
// one thing a dead leader cannot say itself.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "leasehold.h"
#include "tcp.h"
#include "wait.h"

static const char *const REASONS[] = {"leadership-lost", "shutdown", "module-replaced", "stepped-down", "unresponsive"};

// What the environment says.
struct config {
    char *host;
    uint16_t port;
    uint64_t every_ms;
};

// NULL, or what is wrong.
static const char *from_environment(struct config *config) {
    const char *monitor = getenv("MONITOR");
    const char *colon = monitor ? strrchr(monitor, ':') : NULL;
    if (!colon || colon == monitor) return "MONITOR is not HOST:PORT: give the address that heartbeats go to";
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || port == 0 || port > UINT16_MAX) return "the port of MONITOR is not a number from 1 to 65535";
    const char *every = getenv("EVERY_MS");
    config->every_ms = every ? strtoull(every, &end, 10) : 10000;
    if (config->every_ms == 0 || config->every_ms > UINT32_MAX || (every && *end)) {
        return "EVERY_MS is not a number of milliseconds";
    }
    config->port = (uint16_t)port;
    config->host = strndup(monitor, (size_t)(colon - monitor));
    return config->host ? NULL : "out of memory";
}

// Over the connection that there is, or over a new one. It is NULL afterwards where neither has taken it.
static bool send_heartbeat(struct connection **connection, const struct config *config, const char *line, const char **why) {
    if (*connection && tcp_send(*connection, line, why)) return true;
    tcp_close(*connection);
    *connection = tcp_connect(config->host, config->port, why);
    if (*connection && tcp_send(*connection, line, why)) return true;
    tcp_close(*connection);
    *connection = NULL;
    return false;
}

// To be freed.
static char *heartbeat(const leasehold_term_t *term) {
    static const char FORMAT[] = "leasehold_leader_token;namespace=%.*s;lease=%.*s %" PRIu64 " %lld\n";
    char *line = NULL;
    if (asprintf(&line, FORMAT, (int)term->namespace_.len, (const char *)term->namespace_.ptr, (int)term->lease.len,
                 (const char *)term->lease.ptr, term->token, (long long)time(NULL)) < 0) {
        abort();
    }
    return line;
}

bool exports_leasehold_on_start_leading(leasehold_term_t *term, leasehold_string_t *error) {
    // There is no exit at which the rest of the output would be written.
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct config config;
    const char *wrong = from_environment(&config);
    if (wrong) {
        leasehold_string_dup(error, wrong);
        return false;
    }
    struct connection *connection = NULL;
    const char *last = "";
    leasehold_task_types_stop_reason_t reason;
    while (!leasehold_task_leadership_stop_requested(&reason)) {
        char *line = heartbeat(term);
        const char *why;
        const char *now = send_heartbeat(&connection, &config, line, &why) ? "told that this replica leads" : why;
        free(line);
        // Once for each change: an hour of the same is no news.
        if (strcmp(now, last) != 0) printf("%s:%u: %s, token %" PRIu64 "\n", config.host, config.port, now, term->token);
        last = now;
        leasehold_string_t progress;
        leasehold_string_set(&progress, now);
        leasehold_task_progress_report(&progress);
        wait_for(wasi_clocks_monotonic_clock_subscribe_duration(config.every_ms * 1000000));
    }
    printf("asked to stop: %s\n", REASONS[reason]);
    tcp_close(connection);
    free(config.host);
    leasehold_term_free(term);
    return true;
}
