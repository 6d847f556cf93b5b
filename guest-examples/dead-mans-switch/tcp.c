#include "tcp.h"

#include <stdlib.h>
#include <string.h>

#include "leasehold.h"
#include "wait.h"

#define READ_BYTES 65536

struct connection {
    wasi_sockets_tcp_own_tcp_socket_t socket;
    wasi_sockets_tcp_own_input_stream_t input;
    wasi_sockets_tcp_own_output_stream_t output;
};

static const char STOPPING[] = "the task is asked to stop";
static const char CLOSED[] = "the monitor has closed the connection";

// Those that a person meets.
static const char *in_words(wasi_sockets_network_error_code_t code) {
    switch (code) {
        case WASI_SOCKETS_NETWORK_ERROR_CODE_ACCESS_DENIED:
            return "this task is not allowed to (the host's log has the rule that would)";
        case WASI_SOCKETS_NETWORK_ERROR_CODE_TIMEOUT: return "the connection took too long";
        case WASI_SOCKETS_NETWORK_ERROR_CODE_REMOTE_UNREACHABLE: return "the monitor cannot be reached";
        case WASI_SOCKETS_NETWORK_ERROR_CODE_CONNECTION_REFUSED: return "the connection was refused";
        case WASI_SOCKETS_NETWORK_ERROR_CODE_NAME_UNRESOLVABLE: return "the monitor's name is not known";
        case WASI_SOCKETS_NETWORK_ERROR_CODE_TEMPORARY_RESOLVER_FAILURE: return "the monitor's name cannot be looked up now";
        default: return "it has failed";
    }
}

static wasi_sockets_network_ip_socket_address_t with_port(wasi_sockets_network_ip_address_t address, uint16_t port) {
    wasi_sockets_network_ip_socket_address_t with_port = {.tag = address.tag};
    if (address.tag == WASI_SOCKETS_NETWORK_IP_ADDRESS_IPV4) {
        with_port.val.ipv4.port = port;
        with_port.val.ipv4.address = address.val.ipv4;
    } else {
        with_port.val.ipv6.port = port;
        with_port.val.ipv6.address = address.val.ipv6;
    }
    return with_port;
}

static struct connection *connect_to(wasi_sockets_network_ip_socket_address_t remote,
                                     wasi_sockets_network_borrow_network_t network, const char **why) {
    wasi_sockets_network_error_code_t error;
    wasi_sockets_network_ip_address_family_t family = remote.tag == WASI_SOCKETS_NETWORK_IP_SOCKET_ADDRESS_IPV4
                                                          ? WASI_SOCKETS_NETWORK_IP_ADDRESS_FAMILY_IPV4
                                                          : WASI_SOCKETS_NETWORK_IP_ADDRESS_FAMILY_IPV6;
    wasi_sockets_tcp_own_tcp_socket_t socket;
    if (!wasi_sockets_tcp_create_socket_create_tcp_socket(family, &socket, &error)) {
        *why = in_words(error);
        return NULL;
    }
    wasi_sockets_tcp_borrow_tcp_socket_t borrowed = wasi_sockets_tcp_borrow_tcp_socket(socket);
    if (!wasi_sockets_tcp_method_tcp_socket_start_connect(borrowed, network, &remote, &error)) {
        *why = in_words(error);
        wasi_sockets_tcp_tcp_socket_drop_own(socket);
        return NULL;
    }
    wasi_sockets_tcp_tuple2_own_input_stream_own_output_stream_t streams;
    while (!wasi_sockets_tcp_method_tcp_socket_finish_connect(borrowed, &streams, &error)) {
        bool waiting = error == WASI_SOCKETS_NETWORK_ERROR_CODE_WOULD_BLOCK;
        if (waiting && wait_for(wasi_sockets_tcp_method_tcp_socket_subscribe(borrowed))) continue;
        *why = waiting ? STOPPING : in_words(error);
        wasi_sockets_tcp_tcp_socket_drop_own(socket);
        return NULL;
    }
    struct connection *connection = malloc(sizeof *connection);
    if (!connection) abort();
    *connection = (struct connection){socket, streams.f0, streams.f1};
    return connection;
}

struct connection *tcp_connect(const char *host, uint16_t port, const char **why) {
    wasi_sockets_network_own_network_t network = wasi_sockets_instance_network_instance_network();
    wasi_sockets_network_borrow_network_t borrowed = wasi_sockets_network_borrow_network(network);
    // The bindings do not change it.
    leasehold_string_t name = {(uint8_t *)host, strlen(host)};
    wasi_sockets_ip_name_lookup_own_resolve_address_stream_t answer;
    wasi_sockets_network_error_code_t error;
    struct connection *connection = NULL;
    if (!wasi_sockets_ip_name_lookup_resolve_addresses(borrowed, &name, &answer, &error)) {
        *why = in_words(error);
        wasi_sockets_network_network_drop_own(network);
        return NULL;
    }
    wasi_sockets_ip_name_lookup_borrow_resolve_address_stream_t addresses =
        wasi_sockets_ip_name_lookup_borrow_resolve_address_stream(answer);
    *why = "the monitor's name has no address";
    while (!connection) {
        wasi_sockets_ip_name_lookup_option_ip_address_t next;
        if (wasi_sockets_ip_name_lookup_method_resolve_address_stream_resolve_next_address(addresses, &next, &error)) {
            if (!next.is_some) break;
            connection = connect_to(with_port(next.val, port), borrowed, why);
            continue;
        }
        bool waiting = error == WASI_SOCKETS_NETWORK_ERROR_CODE_WOULD_BLOCK;
        if (waiting && wait_for(wasi_sockets_ip_name_lookup_method_resolve_address_stream_subscribe(addresses))) continue;
        *why = waiting ? STOPPING : in_words(error);
        break;
    }
    wasi_sockets_ip_name_lookup_resolve_address_stream_drop_own(answer);
    wasi_sockets_network_network_drop_own(network);
    return connection;
}

// Takes what the monitor says, which is of no interest: but its end of the connection is seen here first.
static bool is_open(const struct connection *connection) {
    leasehold_list_u8_t said;
    wasi_io_streams_stream_error_t error;
    if (!wasi_io_streams_method_input_stream_read(wasi_io_streams_borrow_input_stream(connection->input), READ_BYTES, &said, &error)) {
        wasi_io_streams_stream_error_free(&error);
        return false;
    }
    leasehold_list_u8_free(&said);
    return true;
}

bool tcp_send(struct connection *connection, const char *text, const char **why) {
    *why = CLOSED;
    if (!is_open(connection)) return false;
    wasi_io_streams_borrow_output_stream_t output = wasi_io_streams_borrow_output_stream(connection->output);
    wasi_io_streams_stream_error_t error;
    for (size_t left = strlen(text); left > 0;) {
        uint64_t room;
        if (!wasi_io_streams_method_output_stream_check_write(output, &room, &error)) {
            wasi_io_streams_stream_error_free(&error);
            return false;
        }
        if (room == 0) {
            if (wait_for(wasi_io_streams_method_output_stream_subscribe(output))) continue;
            *why = STOPPING;
            return false;
        }
        leasehold_list_u8_t piece = {(uint8_t *)text, left < room ? left : (size_t)room};
        if (!wasi_io_streams_method_output_stream_write(output, &piece, &error)) {
            wasi_io_streams_stream_error_free(&error);
            return false;
        }
        text += piece.len;
        left -= piece.len;
    }
    return true;
}

void tcp_close(struct connection *connection) {
    if (!connection) return;
    // The streams are the socket's children: they go first.
    wasi_io_streams_input_stream_drop_own(connection->input);
    wasi_io_streams_output_stream_drop_own(connection->output);
    wasi_sockets_tcp_tcp_socket_drop_own(connection->socket);
    free(connection);
}
