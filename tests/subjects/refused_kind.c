/* For the refusals: descriptor 20, or an I/O context, is of a kind that is not saved. Untouched, it goes on working. */
#include "subject.h"
#include <linux/aio_abi.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <sys/ioctl.h>

#define IT 20

static void put(int fd, const char *what) {
    NEEDS(fd >= 0, what);
    CHECK(dup2(fd, IT) == IT);
    close(fd);
}

static void device(const char *path) { put(open(path, O_RDWR), path); }

static void performance(void) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_TASK_CLOCK};
    put(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0), "perf_event_open");
    save_point();
    uint64_t count;
    CHECK(read(IT, &count, sizeof count) == sizeof count && count > 0);
}

static void kvm(void) {
    device("/dev/kvm");
    save_point();
    CHECK(ioctl(IT, 0xae00 /* KVM_GET_API_VERSION */, 0) == 12);
}

static void open_device(const char *path) {
    device(path);
    save_point();
    CHECK(fcntl(IT, F_GETFD) == 0);
}

static void faults(void) {
    put(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY), "userfaultfd");
    save_point();
    struct uffdio_api api = {.api = UFFD_API};
    CHECK(ioctl(IT, UFFDIO_API, &api) == 0);
}

static void directory(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    put(open(".", O_RDONLY | O_DIRECTORY), "a directory");
    NEEDS(fcntl(IT, F_NOTIFY, DN_CREATE | DN_MULTISHOT) == 0, "F_NOTIFY");
    save_point();
    CHECK(mkdir("made", 0700) == 0);
    CHECK(sigwaitinfo(&set, NULL) == SIGIO);
}

static void aio(void) {
    aio_context_t context = 0;
    NEEDS(syscall(SYS_io_setup, 4, &context) == 0, "io_setup");
    save_point();
    struct io_event event;
    CHECK(syscall(SYS_io_getevents, context, 0, 1, &event, NULL) == 0);
    CHECK(syscall(SYS_io_destroy, context) == 0);
}

static void queue(bool has_message) {
    char name[64];
    snprintf(name, sizeof name, "/rekindle-refused-%d", getpid());
    struct mq_attr limits = {.mq_maxmsg = 1, .mq_msgsize = 4};
    put(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &limits), "POSIX message queues");
    CHECK(fcntl(IT, F_SETFD, 0) == 0 && mq_unlink(name) == 0);
    CHECK(!has_message || mq_send(IT, "here", 4, 7) == 0);
}

static void notified(void) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    queue(false);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    CHECK(mq_notify(IT, &event) == 0);
    save_point();
    CHECK(sigpending(&set) == 0 && !sigismember(&set, SIGUSR1));
    sigaddset(&set, SIGUSR1);
    CHECK(mq_send(IT, "", 0, 0) == 0 && sigwaitinfo(&set, &info) == SIGUSR1);
    CHECK_EQ(info.si_value.sival_int, 42);
}

/* A grandchild whose parent has ended is somebody else's child. */
static void shared(void) {
    int ends[2];
    char byte;
    queue(true);
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pid_t outside = fork();
        if (outside == 0) {
            close(0);
            close(1);
            close(ends[1]);
            while (read(ends[0], &byte, 1) == 1) {}
        }
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(close(ends[0]) == 0);
    save_point();
    char bytes[4];
    unsigned priority;
    CHECK(mq_receive(IT, bytes, sizeof bytes, &priority) == 4 && priority == 7 && memcmp(bytes, "here", 4) == 0);
    CHECK(close(ends[1]) == 0);
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    const char *what = arguments[1];
    if (strcmp(what, "perf") == 0) performance();
    if (strcmp(what, "kvm") == 0) kvm();
    if (strcmp(what, "fuse") == 0) open_device("/dev/fuse");
    if (strcmp(what, "loop") == 0) open_device("/dev/loop-control");
    if (strcmp(what, "userfaultfd") == 0) faults();
    if (strcmp(what, "dnotify") == 0) directory();
    if (strcmp(what, "aio") == 0) aio();
    if (strcmp(what, "mq_notify") == 0) notified();
    if (strcmp(what, "outside") == 0) shared();
    return ok();
}
