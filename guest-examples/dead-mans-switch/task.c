// Tells a monitor, again and again, that somebody leads. When the calls stop, the monitor raises the alarm: that is the
// one thing a dead leader cannot say itself.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

static const char *const REASONS[] = {"leadership-lost", "shutdown", "module-replaced", "stepped-down", "unresponsive"};

// Sleeps, for less than that when the host asks the task to stop.
static void wait_ms(uint64_t duration_ms) {
    wasi_io_poll_own_pollable_t stop = leasehold_task_leadership_subscribe_stop();
    wasi_io_poll_own_pollable_t timer = wasi_clocks_monotonic_clock_subscribe_duration(duration_ms * 1000000);
    wasi_io_poll_borrow_pollable_t pollables[] = {wasi_io_poll_borrow_pollable(stop), wasi_io_poll_borrow_pollable(timer)};
    wasi_io_poll_list_borrow_pollable_t list = {pollables, 2};
    leasehold_list_u32_t ready;
    wasi_io_poll_poll(&list, &ready);
    leasehold_list_u32_free(&ready);
    wasi_io_poll_pollable_drop_own(timer);
    wasi_io_poll_pollable_drop_own(stop);
}

static bool fail(leasehold_string_t *error, const char *why) {
    leasehold_string_dup(error, why);
    return false;
}

// A C string of its own: the host's has no end.
static char *c_string(leasehold_string_t host_string) {
    return strndup((const char *)host_string.ptr, host_string.len);
}

bool exports_leasehold_on_start_leading(leasehold_term_t *term, leasehold_string_t *error) {
    // There is no exit at which the rest of the output would be written.
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *url = getenv("MONITOR_URL");
    if (!url) return fail(error, "MONITOR_URL is not set: give the URL that is to be called");
    const char *every = getenv("EVERY_MS");
    char *end = NULL;
    uint64_t every_ms = every ? strtoull(every, &end, 10) : 10000;
    if (every_ms == 0 || (end && *end)) return fail(error, "EVERY_MS is not a number of milliseconds");

    char token[24];
    snprintf(token, sizeof token, "%" PRIu64, term->token);
    char *lease = c_string(term->lease), *identity = c_string(term->identity);
    const struct header headers[] = {{"x-leasehold-lease", lease}, {"x-leasehold-leader", identity}, {"x-leasehold-token", token}};
    int last = -1;
    leasehold_task_types_stop_reason_t reason;
    while (!leasehold_task_leadership_stop_requested(&reason)) {
        const char *why = "";
        int status = http_post(url, headers, sizeof headers / sizeof *headers, &why);
        // Once for each change: an hour of the same is no news.
        if (status != last) printf("%s: %d %s, token %s\n", url, status, why, token);
        last = status;
        wait_ms(every_ms);
    }
    printf("asked to stop: %s\n", REASONS[reason]);
    free(lease);
    free(identity);
    leasehold_term_free(term);
    return true;
}
