#include "http.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

// As the bindings take text: they do not change it.
static leasehold_string_t text(const char *chars, size_t length) {
    return (leasehold_string_t){(uint8_t *)chars, length};
}

// Those that a person meets.
static const char *in_words(uint8_t tag) {
    switch (tag) {
        case WASI_HTTP_TYPES_ERROR_CODE_DNS_ERROR: return "the host's name is not known";
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_REFUSED: return "the connection was refused";
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TIMEOUT: return "the connection took too long";
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TERMINATED: return "the connection was ended";
        case WASI_HTTP_TYPES_ERROR_CODE_TLS_CERTIFICATE_ERROR: return "the certificate is not trusted";
        case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED:
            return "this task is not allowed to (the host's log has the rule that would)";
        default: return "it has failed";
    }
}

// 0 where `url` or a header cannot be sent.
static wasi_http_types_own_outgoing_request_t request_for(const char *url, const struct header *headers, size_t count,
                                                          const char **why) {
    wasi_http_types_scheme_t scheme = {.tag = WASI_HTTP_TYPES_SCHEME_HTTP};
    const char *host = url + strlen("http://");
    if (strncmp(url, "https://", strlen("https://")) == 0) {
        scheme.tag = WASI_HTTP_TYPES_SCHEME_HTTPS;
        host = url + strlen("https://");
    } else if (strncmp(url, "http://", strlen("http://")) != 0) {
        *why = "the URL does not begin with http:// or https://";
        return (wasi_http_types_own_outgoing_request_t){0};
    }
    const char *path = strchr(host, '/');
    leasehold_string_t authority = text(host, path ? (size_t)(path - host) : strlen(host));
    leasehold_string_t path_with_query = path ? text(path, strlen(path)) : text("/", 1);

    wasi_http_types_own_fields_t fields = wasi_http_types_constructor_fields();
    for (size_t i = 0; i < count; i++) {
        leasehold_string_t name = text(headers[i].name, strlen(headers[i].name));
        wasi_http_types_field_value_t value = {(uint8_t *)headers[i].value, strlen(headers[i].value)};
        wasi_http_types_header_error_t error;
        if (!wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(fields), &name, &value, &error)) {
            wasi_http_types_fields_drop_own(fields);
            *why = "a header cannot be sent";
            return (wasi_http_types_own_outgoing_request_t){0};
        }
    }
    wasi_http_types_own_outgoing_request_t request = wasi_http_types_constructor_outgoing_request(fields);
    wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(request);
    wasi_http_types_method_t method = {.tag = WASI_HTTP_TYPES_METHOD_POST};
    if (!wasi_http_types_method_outgoing_request_set_method(borrowed, &method) ||
        !wasi_http_types_method_outgoing_request_set_scheme(borrowed, &scheme) ||
        !wasi_http_types_method_outgoing_request_set_authority(borrowed, &authority) ||
        !wasi_http_types_method_outgoing_request_set_path_with_query(borrowed, &path_with_query)) {
        wasi_http_types_outgoing_request_drop_own(request);
        *why = "the URL cannot be sent";
        return (wasi_http_types_own_outgoing_request_t){0};
    }
    return request;
}

static int status_of(wasi_http_types_own_future_incoming_response_t future, const char **why) {
    wasi_http_types_borrow_future_incoming_response_t borrowed = wasi_http_types_borrow_future_incoming_response(future);
    wasi_io_poll_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(borrowed);
    wasi_io_poll_own_pollable_t stop = leasehold_task_leadership_subscribe_stop();
    wasi_io_poll_borrow_pollable_t both[] = {wasi_io_poll_borrow_pollable(ready), wasi_io_poll_borrow_pollable(stop)};
    wasi_io_poll_list_borrow_pollable_t list = {both, COUNT(both)};
    leasehold_list_u32_t which;
    wasi_io_poll_poll(&list, &which);
    leasehold_list_u32_free(&which);
    wasi_io_poll_pollable_drop_own(ready);
    wasi_io_poll_pollable_drop_own(stop);

    wasi_http_types_result_result_own_incoming_response_error_code_void_t result;
    if (!wasi_http_types_method_future_incoming_response_get(borrowed, &result)) {
        *why = "the task is asked to stop";
        return 0;
    }
    if (result.is_err) {
        *why = "the answer was taken";
        return 0;
    }
    if (result.val.ok.is_err) {
        *why = in_words(result.val.ok.val.err.tag);
        wasi_http_types_error_code_free(&result.val.ok.val.err);
        return 0;
    }
    wasi_http_types_own_incoming_response_t response = result.val.ok.val.ok;
    int status = wasi_http_types_method_incoming_response_status(wasi_http_types_borrow_incoming_response(response));
    wasi_http_types_incoming_response_drop_own(response);
    return status;
}

int http_post(const char *url, const struct header *headers, size_t count, const char **why) {
    wasi_http_types_own_outgoing_request_t request = request_for(url, headers, count, why);
    if (request.__handle == 0) return 0;
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(request);
    if (!wasi_http_types_method_outgoing_request_body(borrowed, &body)) {
        wasi_http_types_outgoing_request_drop_own(request);
        *why = "the request has no body";
        return 0;
    }
    wasi_http_types_own_future_incoming_response_t future;
    wasi_http_types_error_code_t error;
    if (!wasi_http_outgoing_handler_handle(request, NULL, &future, &error)) {
        wasi_http_types_outgoing_body_drop_own(body);
        *why = in_words(error.tag);
        wasi_http_types_error_code_free(&error);
        return 0;
    }
    int status = 0;
    if (wasi_http_types_static_outgoing_body_finish(body, NULL, &error)) {
        status = status_of(future, why);
    } else {
        *why = in_words(error.tag);
        wasi_http_types_error_code_free(&error);
    }
    wasi_http_types_future_incoming_response_drop_own(future);
    return status;
}
