/* A ring of io_uring by bare system calls, with the program's own copy of how far it is, as liburing has it. */
#ifndef URING_H
#define URING_H

#include "subject.h"
#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

/* struct io_uring_cqe, without what long ones have behind it */
typedef struct completion {
    uint64_t user_data;
    int32_t res;
    uint32_t flags;
} completion;

typedef struct ring {
    int fd;
    struct io_uring_params params;
    char *memory;
    struct io_uring_sqe *sqes;
    unsigned tail, head; /* ours */
} ring;

UNUSED static unsigned *word(ring *r, unsigned offset) { return (unsigned *)(r->memory + offset); }
UNUSED static unsigned now(unsigned *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

UNUSED static int io_uring_enter(int fd, unsigned submit, unsigned wait, unsigned flags) {
    return syscall(SYS_io_uring_enter, fd, submit, wait, flags, NULL, 0);
}

UNUSED static int io_uring_register(int fd, unsigned what, const void *argument, unsigned count) {
    return syscall(SYS_io_uring_register, fd, what, argument, count);
}

UNUSED static ring ring_of(unsigned entries, unsigned flags) {
    ring r = {.params = {.flags = flags}};
    r.fd = syscall(SYS_io_uring_setup, entries, &r.params);
    NEEDS(r.fd >= 0, "io_uring");
    struct io_uring_params *p = &r.params;
    CHECK(p->features & IORING_FEAT_SINGLE_MMAP);
    size_t length = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    if (flags & (1u << 16)) length = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    r.memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r.fd, IORING_OFF_SQ_RING);
    r.sqes = mmap(NULL, p->sq_entries * sizeof *r.sqes, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, IORING_OFF_SQES);
    CHECK(r.memory != MAP_FAILED && (void *)r.sqes != MAP_FAILED);
    return r;
}

/* The next submission, empty. There must be room as the program sees it. */
UNUSED static struct io_uring_sqe *next(ring *r, int op, uint64_t data) {
    CHECK(r->tail - now(word(r, r->params.sq_off.head)) < r->params.sq_entries);
    unsigned index = r->tail++ & (r->params.sq_entries - 1);
    struct io_uring_sqe *sqe = &r->sqes[index];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = op;
    sqe->fd = -1;
    sqe->user_data = data;
    if (!(r->params.flags & (1u << 16))) word(r, r->params.sq_off.array)[index] = index;
    return sqe;
}

/* Queues what has been prepared. */
UNUSED static void queue(ring *r) {
    __atomic_store_n(word(r, r->params.sq_off.tail), r->tail, __ATOMIC_RELEASE);
}

UNUSED static void submit(ring *r, unsigned count) {
    queue(r);
    if (!(r->params.flags & IORING_SETUP_SQPOLL)) {
        CHECK_EQ(io_uring_enter(r->fd, count, 0, 0), (int)count);
        return;
    }
    while (now(word(r, r->params.sq_off.head)) != r->tail)
        if (now(word(r, r->params.sq_off.flags)) & IORING_SQ_NEED_WAKEUP)
            CHECK(io_uring_enter(r->fd, 0, 0, IORING_ENTER_SQ_WAKEUP) >= 0);
}

UNUSED static unsigned untaken(ring *r) { return now(word(r, r->params.cq_off.tail)) - r->head; }

/* Takes the next completion, waiting for it if need be. */
UNUSED static completion take(ring *r) {
    while (!untaken(r)) CHECK(io_uring_enter(r->fd, 0, 1, IORING_ENTER_GETEVENTS) >= 0 || errno == EINTR);
    completion *cqes = (void *)(r->memory + r->params.cq_off.cqes);
    completion cqe = cqes[r->head++ & (r->params.cq_entries - 1)];
    __atomic_store_n(word(r, r->params.cq_off.head), r->head, __ATOMIC_RELEASE);
    return cqe;
}

/* Does nothing that many times, and takes what is told of it. */
UNUSED static void spin(ring *r, unsigned count) {
    for (unsigned done = 0; done < count; done++) {
        next(r, IORING_OP_NOP, done);
        submit(r, 1);
        completion cqe = take(r);
        CHECK(cqe.user_data == done && cqe.res == 0);
    }
}

#endif
