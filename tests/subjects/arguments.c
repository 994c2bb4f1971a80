/* What ps(1) shows: a title written over the arguments, and argument and environment bounds moved by PR_SET_MM_MAP. */
#include "subject.h"
#include <linux/prctl.h>

extern char **environ;

static void expect(const char *path, const char *text, size_t length) {
    char *found = slurp(path);
    if (memcmp(found, text, length) != 0) FAIL("%s is '%s', not '%s'\n", path, found, text);
}

static unsigned long number_after(const char *text, int skip) {
    for (; skip > 0; skip--) text = strchr(text, ' ') + 1;
    return strtoul(text, NULL, 10);
}

int main(int count, char **arguments) {
    /* as setproctitle does: the words are moved away, the title is written over them */
    char *start = arguments[0];
    CHECK(count >= 1 && strlen(start) >= 16);
    arguments[0] = strdup(start);
    memset(start, 0, strlen(arguments[0]));
    strcpy(start, "a title: \xff\xfe");
    expect("/proc/self/cmdline", "a title: \xff\xfe", 11);

    /* proc(5), stat: from field 4 (ppid) on, after the name */
    char *fields = strrchr(slurp("/proc/self/stat"), ')') + 2;
    struct prctl_mm_map bounds = {
        .start_code = number_after(fields, 26 - 3), .end_code = number_after(fields, 27 - 3),
        .start_stack = number_after(fields, 28 - 3), .start_data = number_after(fields, 45 - 3),
        .end_data = number_after(fields, 46 - 3), .start_brk = number_after(fields, 47 - 3),
        .arg_start = number_after(fields, 48 - 3), .arg_end = number_after(fields, 49 - 3),
        .env_start = number_after(fields, 50 - 3), .env_end = number_after(fields, 51 - 3),
        .brk = (unsigned long)sbrk(0), .exe_fd = -1,
    };
    char *title = map(PAGE, PROT_READ | PROT_WRITE, 0);
    strcpy(title, "elsewhere");
    strcpy(title + 100, "HERE=1");
    struct prctl_mm_map moved = bounds;
    moved.arg_start = (unsigned long)title;
    moved.arg_end = (unsigned long)title + 10;
    moved.env_start = (unsigned long)title + 100;
    moved.env_end = (unsigned long)title + 107;
    moved.auxv = NULL;
    bool can_move = prctl(PR_SET_MM, PR_SET_MM_MAP, &moved, sizeof moved, 0) == 0;
    if (can_move) expect("/proc/self/cmdline", "elsewhere", 10);

    save_point();

    if (can_move) {
        expect("/proc/self/cmdline", "elsewhere", 10);
        expect("/proc/self/environ", "HERE=1", 7);
        strcpy(title, "afterward");
        expect("/proc/self/cmdline", "afterward", 10);
        CHECK(prctl(PR_SET_MM, PR_SET_MM_MAP, &bounds, sizeof bounds, 0) == 0);
    }
    expect("/proc/self/cmdline", "a title: \xff\xfe", 11);
    CHECK(getenv("PATH") != NULL);
    return ok();
}
