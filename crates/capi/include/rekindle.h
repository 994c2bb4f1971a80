/* rekindle: checkpoint and restart of running Linux processes.
 *
 * Link with -lrekindle_c (librekindle_c.so), or with librekindle_c.a and -lpthread -ldl -lm.
 *
 * A checkpoint writes an image: one stream that holds the memory, the threads, and the open files of a process. A
 * restart makes a process of it again, with the pid it had. Neither needs the program to be prepared.
 *
 *     int fd = open("job.rkd", O_CREAT | O_TRUNC | O_RDWR, 0600);
 *     int where = rekindle_checkpoint(0, fd, 0);            // this very process
 *     if (where < 0)
 *         fprintf(stderr, "checkpoint: %s\n", rekindle_error());
 *     else if (where == REKINDLE_RESTORED)
 *         puts("here again, hours later");
 *     close(fd);
 *
 * and, in another program, once the first has ended:
 *
 *     int fd = open("job.rkd", O_RDONLY);
 *     pid_t pid = rekindle_restart(fd, 0);                  // or: rekindle restore job.rkd
 *     if (pid > 0)
 *         waitpid(pid, &status, 0);
 *
 * All functions may be called by any thread.
 */
#ifndef REKINDLE_H
#define REKINDLE_H

#include <sys/types.h>

#define REKINDLE_VERSION_MAJOR 0
#define REKINDLE_VERSION_MINOR 1
#define REKINDLE_VERSION_PATCH 0
/* The version of this header. Compare it with rekindle_version(), the version of the library. */
#define REKINDLE_VERSION "0.1.0"

/* What rekindle_checkpoint(0, ...) returns in the restored copy of the program. */
#define REKINDLE_RESTORED 1

/* rekindle_checkpoint: kill the process once its image is complete and, in a regular file, on the disk. With pid 0 the
 * call then returns only in the restored copy, or with an error. */
#define REKINDLE_KILL 0x1ul

/* rekindle_restart: the process is to outlive the caller. It makes a difference only for a process that asked for a
 * signal at its parent's death (PR_SET_PDEATHSIG): it becomes a child of the caller's parent instead. */
#define REKINDLE_DETACHED 0x1ul
/* rekindle_restart: take files that the program has open or mapped as they are now, though they were modified since the
 * checkpoint. Without it they are a reason to refuse. */
#define REKINDLE_ACCEPT_CHANGED_FILES 0x2ul

#ifdef __cplusplus
extern "C" {
#endif

/* Writes an image of the process `pid` to `fd`, from where its offset is. The process stands still meanwhile, and goes
 * on unless REKINDLE_KILL is given. Whatever fails: it goes on.
 *
 * pid: a process, not a thread; or 0 for the calling process, with all its threads ("self-checkpoint").
 * fd: a regular file, a pipe, or a socket, open for writing. An image of a regular file is on the disk (fsync(2)) when
 *     this returns. An image holds all that was in memory: give it to nobody else. After an error the file holds a
 *     part of an image, which no restart accepts.
 * flags: 0 or REKINDLE_KILL.
 *
 * Returns 0; or REKINDLE_RESTORED in the restored copy of a program that checkpointed itself; or -1 with errno set, and
 * a sentence in rekindle_error():
 *     EPERM      refused: the process has something that cannot be captured yet, belongs to somebody else, or is traced.
 *                The sentence lists every reason, with what to do about each. Nothing was touched.
 *     ESRCH      there is no such process (any more)
 *     EBADF      `fd` is not open, or not for writing
 *     EINVAL     unknown flags; a negative pid; the caller's own pid, for which 0 is to be given
 *     ETIMEDOUT  a thread did not stop within 10 s, as it waits uninterruptibly in the kernel
 *     others     as the system call had it that failed, which the sentence names: ENOSPC, EPIPE, EIO, ENOMEM...
 *
 * About self-checkpoint (pid 0):
 *   - A helper is forked, which writes the image of its parent, and is waited for. The program may notice its SIGCHLD.
 *     Handlers of pthread_atfork(3) run. The helper is no part of the image; other children are a reason to refuse.
 *   - `fd` is part of the program, and thus of its image. A regular file is best, open by a name that it has: it is
 *     exempt from the comparison that REKINDLE_ACCEPT_CHANGED_FILES is about. In the restored copy `fd` leads to the
 *     file of that name again, its offset at the start of the image; or to /dev/null, if there is none by then. Standard
 *     output or error may be a pipe. Any other pipe, a socket, and a file without a name are refused.
 *   - Where Yama restricts ptrace(2), and the caller is not privileged, the helper is declared as the one allowed to
 *     trace it (PR_SET_PTRACER); what the program had declared before is lost.
 *   - It waits for calls of rekindle functions by other threads to end, and they wait for it.
 */
int rekindle_checkpoint(pid_t pid, int fd, unsigned long flags);

/* Restores the process whose image is read from `fd`, from where its offset is; exactly the image is read. A regular
 * file that is read from its start is verified as a whole before anything is created. The process is a child of the
 * caller, has the pid it had, and runs when this returns. Its standard streams are the caller's where they were a
 * terminal, or a pipe to somebody else. If the caller dies meanwhile, no half-made process stays.
 *
 * Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, to choose a pid.
 *
 * fd: a file, pipe, or socket, open for reading.
 * flags: 0, or REKINDLE_DETACHED and REKINDLE_ACCEPT_CHANGED_FILES or'ed together.
 *
 * Returns the pid, to be waited for with waitpid(2); or -1 with errno set, and a sentence in rekindle_error():
 *     EBADMSG    the image is cut off, damaged, of a newer rekindle, or no image
 *     EBUSY      it cannot be restored here and now: the pid is taken, a file has changed or is gone... The sentence
 *                lists every reason, with what to do about each. Nothing was created.
 *     EBADF      `fd` is not open, or not for reading
 *     EINVAL     unknown flags
 *     EPERM      the caller lacks a capability
 *     others     as the system call had it that failed, which the sentence names
 */
pid_t rekindle_restart(int fd, unsigned long flags);

/* Why the calling thread's last rekindle_checkpoint or rekindle_restart failed: one or more lines of UTF-8, without a
 * newline at the end. Empty if it succeeded. Valid until the thread's next call of either; never NULL, not to be freed. */
const char *rekindle_error(void);

/* The version of the library, such as "0.1.0". Valid for ever. */
const char *rekindle_version(void);

#ifdef __cplusplus
}
#endif

#endif
