/* A process whose first thread has ended while another goes on: its own, or a child's. */
#include "tree.h"

static pthread_t first;
static void *go_on(void UNUSED *none) {
    CHECK(pthread_join(first, NULL) == 0);
    await_state(getpid(), 'Z');
    say("save point\n");
    char byte;
    while (read(0, &byte, 1) > 0 && byte != '\n') continue;
    ok();
    _exit(0);
}

int main(int argc, char UNUSED **argv) {
    pid_t pid = argc > 1 ? fork() : 0;
    CHECK(pid >= 0);
    if (pid > 0) {
        is_well(pid);
        return 0;
    }
    pthread_t thread;
    first = pthread_self();
    CHECK(pthread_create(&thread, NULL, go_on, NULL) == 0);
    pthread_exit(NULL);
}
