/*
 * System V message queues: what is in one, in order and with its types; who used it last; its limit, owner and key. Children
 * wait in others: one to receive from an empty queue that nobody has ever used, one to send into a full one.
 */
#include "subject.h"
#include <sys/ipc.h>
#include <sys/msg.h>

struct message {
    long type;
    char text[1024];
};

static void send(int id, long type, const char *text, size_t length) {
    struct message message = {.type = type};
    memcpy(message.text, text, length);
    CHECK(msgsnd(id, &message, length, IPC_NOWAIT) == 0);
}

static void receive(int id, long wanted, long type, const char *text, size_t length) {
    struct message message = {0};
    CHECK_EQ(msgrcv(id, &message, sizeof message.text, wanted, IPC_NOWAIT), length);
    CHECK_EQ(message.type, type);
    CHECK(memcmp(message.text, text, length) == 0);
}

static int queue(key_t key, unsigned long limit) {
    int id = msgget(key, IPC_CREAT | IPC_EXCL | 0640);
    struct msqid_ds about;
    CHECK(id >= 0 && msgctl(id, IPC_STAT, &about) == 0);
    about.msg_qbytes = limit;
    if (geteuid() == 0) about.msg_perm.uid = 12, about.msg_perm.gid = 34;
    CHECK(msgctl(id, IPC_SET, &about) == 0);
    return id;
}

static pid_t in_child(void (*body)(int), int id) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        body(id);
        _exit(3);
    }
    return child;
}

static void receive_one(int id) {
    struct message message = {0};
    CHECK(msgrcv(id, &message, sizeof message.text, 5, 0) == 4 && memcmp(message.text, "five", 4) == 0);
}

static void send_one(int id) {
    struct message message = {.type = 6, .text = "six"};
    CHECK(msgsnd(id, &message, 3, 0) == 0);
}

static void await_in(pid_t child, int call) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/syscall", child);
    while (atoi(slurp(path)) != call) sched_yield();
}

int main(void) {
    NEEDS(access("/proc/sysvipc/msg", R_OK) == 0, "System V message queues");
    key_t key = 0x52450000 | (getpid() & 0xffff);
    int kept = queue(key, 9000), empty = queue(IPC_PRIVATE, 2000), full = queue(IPC_PRIVATE, 4);
    char large[1000];
    memset(large, 'x', sizeof large);
    send(kept, 3, "gone", 4);
    send(kept, 2, "second", 6);
    send(kept, 1, "", 0);
    send(kept, 2, large, sizeof large);
    send(kept, 0x7fffffffffffl, "a\0b", 3);
    receive(kept, 3, 3, "gone", 4);
    send(full, 9, "full", 4);
    pid_t receiver = in_child(receive_one, empty), sender = in_child(send_one, full);
    await_in(receiver, SYS_msgrcv);
    await_in(sender, SYS_msgsnd);

    save_point();

    struct msqid_ds about;
    CHECK_EQ(msgget(key, 0), kept);
    CHECK(msgctl(kept, IPC_STAT, &about) == 0);
    CHECK_EQ(about.msg_qnum, 4);
    CHECK_EQ(about.msg_qbytes, 9000);
    CHECK_EQ(about.msg_lspid, getpid());
    CHECK_EQ(about.msg_lrpid, getpid());
    CHECK_EQ(about.msg_perm.mode, 0640);
    if (geteuid() == 0) CHECK(about.msg_perm.uid == 12 && about.msg_perm.gid == 34);
    CHECK(about.msg_perm.cuid == getuid() && about.msg_perm.cgid == getgid());
    receive(kept, -1, 1, "", 0);
    receive(kept, 0, 2, "second", 6);
    receive(kept, 2, 2, large, sizeof large);
    receive(kept, 0, 0x7fffffffffffl, "a\0b", 3);
    struct message none;
    CHECK(msgrcv(kept, &none, sizeof none.text, 0, IPC_NOWAIT) == -1 && errno == ENOMSG);

    send(empty, 5, "five", 4);
    receive(full, 9, 9, "full", 4);
    int status;
    CHECK(waitpid(receiver, &status, 0) == receiver && WEXITSTATUS(status) == 3);
    CHECK(waitpid(sender, &status, 0) == sender && WEXITSTATUS(status) == 3);
    receive(full, 6, 6, "six", 3);
    CHECK(msgctl(kept, IPC_RMID, NULL) == 0 && msgctl(empty, IPC_RMID, NULL) == 0 && msgctl(full, IPC_RMID, NULL) == 0);
    return ok();
}
