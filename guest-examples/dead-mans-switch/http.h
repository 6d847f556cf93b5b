// A request without a body, over wasi:http.

#pragma once

#include <stddef.h>

#include "leasehold.h"

// A header of a request.
struct header {
    const char *name, *value;
};

// Sends a POST to `url` (http://HOST/PATH or https://HOST/PATH) and waits until it is answered, or the task is asked
// to stop. Returns the answer's status; 0 where there is none, and then `why` says why.
int http_post(const char *url, const struct header *headers, size_t count, const char **why);
