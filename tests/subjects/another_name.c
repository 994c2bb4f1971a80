/* Files that were deleted under the name they were opened by, and have another one: they are no deleted files. */
#include "subject.h"

int main(void) {
    int linked = open("one", O_RDWR | O_CREAT, 0600);
    CHECK(linked >= 0 && ftruncate(linked, PAGE) == 0 && link("one", "two") == 0);
    char *mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, linked, 0);
    CHECK(mapped != MAP_FAILED && unlink("one") == 0);

    CHECK(mkdir("here", 0700) == 0 && mkdir("there", 0700) == 0 && mkdir("there/below", 0700) == 0);
    int moved = open("here/one", O_RDWR | O_CREAT, 0600);
    CHECK(moved >= 0 && link("here/one", "there/below/two") == 0 && unlink("here/one") == 0);

    save_point();

    struct stat stat, two;
    CHECK(fstat(linked, &stat) == 0 && lstat("two", &two) == 0);
    CHECK_EQ(stat.st_ino, two.st_ino);
    CHECK_EQ(stat.st_nlink, 1);
    strcpy(mapped, "still the same");
    CHECK(strcmp(slurp("two"), "still the same") == 0);
    CHECK(write(moved, "elsewhere", 9) == 9 && strcmp(slurp("there/below/two"), "elsewhere") == 0);
    return ok();
}
