/* The stack: frames above the save point keep their contents, and it grows on afterwards, far below where it had been. */
#include "subject.h"

__attribute__((noinline)) static uint64_t descend(int depth) {
    volatile char frame[4000];
    memset((void *)frame, depth, sizeof frame);
    if (depth == 0) {
        save_point();
        return 0;
    }
    uint64_t below = descend(depth - 1);
    for (size_t i = 0; i < sizeof frame; i++) CHECK(frame[i] == (char)depth);
    return below + depth;
}

__attribute__((noinline)) static uint64_t deeper(int depth) {
    volatile char frame[4000];
    frame[0] = frame[3999] = (char)depth;
    if (depth == 0) return 0;
    uint64_t below = deeper(depth - 1);
    CHECK(frame[0] == (char)depth && frame[3999] == (char)depth);
    return below + 1;
}

extern char **environ;

int main(int count, char **arguments) {
    char name[256];
    snprintf(name, sizeof name, "%s", arguments[0]);
    CHECK_EQ(descend(20), 210);
    CHECK_EQ(deeper(1500), 1500); /* 6 MB, of the 8 that RLIMIT_STACK usually gives */
    CHECK(count >= 1 && strcmp(arguments[0], name) == 0);
    CHECK(environ != NULL && arguments[count] == NULL && environ == arguments + count + 1);
    return ok();
}
