/* What the smoke test's Pods run: says what it reaches, in a line each, and waits for its end.

   REACHES and REACHES_NOT have addresses, as in "10.96.0.1:443 203.0.113.1:80". */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int signal) { _exit(0); }

/* 0, or why not. */
static int connect_to(const char *address, int port) {
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) return EINVAL;
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection < 0) return errno;
    int error = 0;
    if (connect(connection, (struct sockaddr *)&peer, sizeof peer) < 0) error = errno;
    if (error == EINPROGRESS) {
        struct pollfd wait = {.fd = connection, .events = POLLOUT};
        socklen_t length = sizeof error;
        if (poll(&wait, 1, 2000) < 1)
            error = ETIMEDOUT;
        else
            getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &length);
    }
    close(connection);
    return error;
}

static void say_what_is_reached(const char *addresses, int expected) {
    char *rest = strdup(addresses ? addresses : "");
    for (char *each = strtok(rest, " "); each; each = strtok(NULL, " ")) {
        char *colon = strchr(each, ':');
        *colon = 0;
        int error = connect_to(each, atoi(colon + 1));
        /* Who refuses has been reached. */
        int reached = error == 0 || error == ECONNREFUSED;
        printf("%s: %s %s: %s\n", reached == expected ? "as it should be" : "WRONG",
               reached ? "reaches" : "does not reach", each, strerror(error));
    }
}

int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    say_what_is_reached(getenv("REACHES"), 1);
    say_what_is_reached(getenv("REACHES_NOT"), 0);
    printf("done\n");
    fflush(stdout);
    for (;;) pause();
}
