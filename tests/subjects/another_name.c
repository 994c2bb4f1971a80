/* A file that was deleted under the name it was opened by, and has another one in the same directory: it is no deleted file. */
#include "subject.h"

int main(void) {
    int linked = open("one", O_RDWR | O_CREAT, 0600);
    CHECK(linked >= 0 && ftruncate(linked, PAGE) == 0 && link("one", "two") == 0);
    char *mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, linked, 0);
    CHECK(mapped != MAP_FAILED && unlink("one") == 0);

    save_point();

    struct stat stat, two;
    CHECK(fstat(linked, &stat) == 0 && lstat("two", &two) == 0);
    CHECK_EQ(stat.st_ino, two.st_ino);
    CHECK_EQ(stat.st_nlink, 1);
    strcpy(mapped, "still the same");
    CHECK(strcmp(slurp("two"), "still the same") == 0);
    return ok();
}
