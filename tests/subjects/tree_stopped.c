/*
 * Children that job control has stopped: one whose parent knows it, one whose parent has yet to be told; and one that has been
 * continued since. No report comes twice, none is lost, and no signal of them comes again.
 */
#include "tree.h"

static void sleep_here(int UNUSED none) { take_place(); }

/* Takes the one signal that a change of a child's state brings. */
static void signalled(pid_t pid, int code) {
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    siginfo_t info;
    CHECK_EQ(sigwaitinfo(&chld, &info), SIGCHLD);
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_code, code);
}
static void no_signal(void) {
    sigset_t pending;
    CHECK(sigpending(&pending) == 0);
    CHECK_EQ(sigismember(&pending, SIGCHLD), 0);
}

static void stop(pid_t pid, int signal) {
    CHECK(kill(pid, signal) == 0);
    signalled(pid, CLD_STOPPED);
}
static void told(pid_t pid, int how, int signal) {
    int status;
    CHECK_EQ(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG), pid);
    CHECK(how == CLD_CONTINUED ? WIFCONTINUED(status) : WIFSTOPPED(status) && WSTOPSIG(status) == signal);
}
static void nothing_to_tell(pid_t pid) {
    int status;
    CHECK_EQ(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG), 0);
}

int main(void) {
    muster();
    pid_t known = enlist(sleep_here, 0), unknown = enlist(sleep_here, 0), by_tty = enlist(sleep_here, 0);
    pid_t forgotten = enlist(sleep_here, 0);
    await_ready(4);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &chld, NULL) == 0);
    stop(known, SIGSTOP), told(known, CLD_STOPPED, SIGSTOP);
    stop(unknown, SIGSTOP);
    stop(by_tty, SIGSTOP), told(by_tty, CLD_STOPPED, SIGSTOP);
    stop(forgotten, SIGSTOP), told(forgotten, CLD_STOPPED, SIGSTOP);
    CHECK(kill(forgotten, SIGCONT) == 0);
    signalled(forgotten, CLD_CONTINUED), told(forgotten, CLD_CONTINUED, 0);
    no_signal();

    save_point();

    no_signal();
    nothing_to_tell(known), nothing_to_tell(by_tty), nothing_to_tell(forgotten);
    told(unknown, CLD_STOPPED, SIGSTOP), nothing_to_tell(unknown);
    pid_t stopped[] = {known, unknown, by_tty};
    for (int i = 0; i < 3; i++) {
        CHECK(kill(stopped[i], SIGCONT) == 0);
        signalled(stopped[i], CLD_CONTINUED);
        told(stopped[i], CLD_CONTINUED, 0);
    }
    go(4);
    all_well();
    return ok();
}
