#include "wait.h"

bool wait_for(wasi_io_poll_own_pollable_t ready) {
    wasi_io_poll_own_pollable_t stop = leasehold_task_leadership_subscribe_stop();
    wasi_io_poll_borrow_pollable_t either[] = {wasi_io_poll_borrow_pollable(ready), wasi_io_poll_borrow_pollable(stop)};
    wasi_io_poll_list_borrow_pollable_t list = {either, sizeof either / sizeof *either};
    leasehold_list_u32_t which;
    wasi_io_poll_poll(&list, &which);
    leasehold_list_u32_free(&which);
    wasi_io_poll_pollable_drop_own(ready);
    wasi_io_poll_pollable_drop_own(stop);
    leasehold_task_types_stop_reason_t reason;
    return !leasehold_task_leadership_stop_requested(&reason);
}
