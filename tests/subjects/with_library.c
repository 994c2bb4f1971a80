/* For the refusals: has loaded ./library.so, holds ./file open, and stands in the directory ./place. */
#include "subject.h"
#include <dlfcn.h>

int main(void) {
    void *library = dlopen("./library.so", RTLD_NOW);
    if (library == NULL) FAIL("dlopen: %s\n", dlerror());
    int (*answer)(void) = (int (*)(void))dlsym(library, "answer");
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(answer != NULL && fd >= 0 && write(fd, "contents", 8) == 8);
    CHECK(mkdir("place", 0700) == 0 && chdir("place") == 0);

    save_point();

    CHECK_EQ(answer(), 42);
    CHECK(pwrite(fd, "C", 1, 0) == 1);
    return ok();
}
