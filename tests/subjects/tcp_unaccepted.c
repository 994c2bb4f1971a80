/* A server that has not accepted its client yet; after the save point it accepts the next. It says its port first. */
#include "inet.h"

int main(void) {
    int listener = listening(0, "127.0.0.1", 4);
    say("port %d\n", port_of(listener));
    struct pollfd waited = {.fd = listener, .events = POLLIN};
    CHECK_EQ(poll(&waited, 1, 20000), 1);
    save_point();
    CHECK(accept(listener, NULL, NULL) >= 0);
    return ok();
}
