/* What holds a Pod's namespaces while its containers come and go: it waits, and reaps nothing, for it
   has no children where processes are not shared. */
#include <signal.h>
#include <unistd.h>

static void end(int signal) { _exit(0); }

int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    for (;;) pause();
}
