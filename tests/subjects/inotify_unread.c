/* An inotify instance with an event that has not been read: a restored program is told that some were lost. */
#include "subject.h"
#include <poll.h>
#include <sys/inotify.h>

static char events[4096];

int main(void) {
    int file = open("watched", O_WRONLY | O_CREAT, 0600), fd = inotify_init();
    CHECK(file >= 0 && fd >= 0);
    int wd = inotify_add_watch(fd, "watched", IN_MODIFY);
    CHECK(wd > 0 && write(file, "x", 1) == 1);

    save_point();

    struct pollfd waited = {.fd = fd, .events = POLLIN};
    CHECK(poll(&waited, 1, 0) == 1);
    CHECK_EQ(read(fd, events, sizeof events), sizeof(struct inotify_event));
    struct inotify_event *event = (struct inotify_event *)events;
    bool lost = event->mask == IN_Q_OVERFLOW && event->wd == -1;
    CHECK(lost || (event->mask == IN_MODIFY && event->wd == wd));
    CHECK(poll(&waited, 1, 0) == 0);
    CHECK(write(file, "y", 1) == 1);
    CHECK_EQ(read(fd, events, sizeof events), sizeof(struct inotify_event));
    CHECK(event->mask == IN_MODIFY && event->wd == wd);
    return ok();
}
