/*
 * Children that job control has stopped: one whose parent knows it, one whose parent has yet to be told; and one that has been
 * continued since. No report comes twice, none is lost, and no signal of them comes again.
 */
#include "tree.h"

static volatile sig_atomic_t came;
static void count(int UNUSED signal) { came++; }

static void sleep_here(int signals) {
    signal(SIGUSR1, count);
    take_place();
    CHECK_EQ(came, signals);
}

static void *sleep_in_thread(void UNUSED *none) {
    take_place();
    return NULL;
}
static void with_threads(int UNUSED none) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, sleep_in_thread, NULL) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Stopped together with a child of its own, of whose stop it can only be told when it goes on. */
static void with_child(int UNUSED none) {
    pid_t self = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        take_place();
        _exit(0);
    }
    await_state(pid, 'S'); /* it waits for the word */
    CHECK(kill(pid, SIGSTOP) == 0);
    await_state(pid, 'T');
    say_ready();
    CHECK(kill(self, SIGSTOP) == 0); /* until the root lets it go on */
    int status;
    CHECK_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), pid);
    CHECK(WIFSTOPPED(status));
    CHECK(kill(pid, SIGCONT) == 0);
    is_well(pid);
}

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
    pid_t known = enlist(sleep_here, 1), unknown = enlist(sleep_here, 0), threads = enlist(with_threads, 0);
    pid_t forgotten = enlist(sleep_here, 0);
    await_ready(5);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &chld, NULL) == 0);
    stop(known, SIGSTOP), told(known, CLD_STOPPED, SIGSTOP);
    stop(unknown, SIGSTOP);
    stop(threads, SIGSTOP), told(threads, CLD_STOPPED, SIGSTOP);
    stop(forgotten, SIGSTOP), told(forgotten, CLD_STOPPED, SIGSTOP);
    CHECK(kill(forgotten, SIGCONT) == 0);
    signalled(forgotten, CLD_CONTINUED), told(forgotten, CLD_CONTINUED, 0);
    CHECK(kill(known, SIGUSR1) == 0); /* which waits until it goes on */
    pid_t parent = enlist(with_child, 0);
    await_ready(2);
    signalled(parent, CLD_STOPPED);
    no_signal();

    save_point();

    no_signal();
    nothing_to_tell(known), nothing_to_tell(threads), nothing_to_tell(forgotten);
    told(unknown, CLD_STOPPED, SIGSTOP), nothing_to_tell(unknown);
    told(parent, CLD_STOPPED, SIGSTOP);
    pid_t stopped[] = {known, unknown, threads, parent};
    for (int i = 0; i < 4; i++) {
        CHECK(kill(stopped[i], SIGCONT) == 0);
        signalled(stopped[i], CLD_CONTINUED);
        told(stopped[i], CLD_CONTINUED, 0);
    }
    go(6);
    all_well();
    return ok();
}
