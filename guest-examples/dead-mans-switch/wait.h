#pragma once

#include <stdbool.h>

#include "leasehold.h"

// Waits until `ready` is, and drops it. Returns whether the task may go on: false, at once, when the host asks it to stop.
bool wait_for(wasi_io_poll_own_pollable_t ready);
