/* Makes a zombie and says its pid; reaps it when standard input ends. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    pid_t child = fork();
    char byte;
    if (child < 0) return 1;
    if (child == 0) _exit(7);
    siginfo_t info;
    if (waitid(P_PID, child, &info, WEXITED | WNOWAIT) != 0) return 1;
    printf("zombie %d\n", child);
    fflush(stdout);
    while (read(0, &byte, 1) > 0) continue;
    return waitpid(child, 0, 0) != child;
}
