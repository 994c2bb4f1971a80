/* The working directory: below one that the process may have moved away from, with a name that is not text. */
#include "subject.h"

int main(void) {
    CHECK(mkdir("a \xff directory", 0700) == 0 || errno == EEXIST);
    CHECK(mkdir("a \xff directory/inner\n", 0700) == 0 || errno == EEXIST);
    CHECK(chdir("a \xff directory/inner\n") == 0);
    char before[4096], after[4096];
    CHECK(getcwd(before, sizeof before) != NULL);

    save_point();

    CHECK(getcwd(after, sizeof after) != NULL && strcmp(before, after) == 0);
    int fd = open("relative", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK(close(fd) == 0 && unlink("../inner\n/relative") == 0);
    return ok();
}
