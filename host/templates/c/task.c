// Runs while this replica leads.

#include <inttypes.h>
#include <stdio.h>

#include "leasehold.h"

#define PAUSE_NS UINT64_C(1000000000)

static const char *const REASONS[] = {"leadership-lost", "shutdown", "module-replaced", "stepped-down", "unresponsive"};

// Sleeps, for less than that when the host asks the task to stop.
static void wait_ns(uint64_t duration_ns) {
    wasi_io_poll_own_pollable_t stop = leasehold_task_leadership_subscribe_stop();
    wasi_io_poll_own_pollable_t timer = wasi_clocks_monotonic_clock_subscribe_duration(duration_ns);
    wasi_io_poll_borrow_pollable_t pollables[] = {wasi_io_poll_borrow_pollable(stop), wasi_io_poll_borrow_pollable(timer)};
    wasi_io_poll_list_borrow_pollable_t list = {pollables, 2};
    leasehold_list_u32_t ready;
    wasi_io_poll_poll(&list, &ready);
    leasehold_list_u32_free(&ready);
    wasi_io_poll_pollable_drop_own(timer);
    wasi_io_poll_pollable_drop_own(stop);
}

// To fail, set `error` (leasehold_string_dup) and return false.
bool exports_leasehold_on_start_leading(leasehold_term_t *term, leasehold_string_t *error) {
    (void)error;
    // There is no exit at which the rest of the output would be written.
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (uint64_t round = 1;; round++) {
        // The work comes here. Send the token along with what is written, and let the receiver refuse lower ones.
        printf("round %" PRIu64 ", token %" PRIu64 "\n", round, term->token);

        wait_ns(PAUSE_NS);
        leasehold_task_types_stop_reason_t reason;
        if (leasehold_task_leadership_stop_requested(&reason)) {
            printf("asked to stop: %s\n", REASONS[reason]);
            leasehold_term_free(term);
            return true;
        }
    }
}
