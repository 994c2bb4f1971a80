/* Files on a mount that may only be read, and on an overlay: from below, written to, made there and deleted there. */
#include "subject.h"
#include <sys/statvfs.h>

int main(void) {
    int reading = open("readonly/file", O_RDONLY), directory = open("readonly", O_RDONLY | O_DIRECTORY);
    CHECK(reading >= 0 && directory >= 0 && lseek(reading, 3, SEEK_SET) == 3);
    char *mapped = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reading, 0);
    CHECK(mapped != MAP_FAILED);
    int kept = open("overlay/kept", O_RDONLY), changed = open("overlay/changed", O_RDWR | O_APPEND);
    CHECK(kept >= 0 && changed >= 0 && write(changed, ", more", 6) == 6);
    int made = open("overlay/made", O_RDWR | O_CREAT, 0600), gone = open("overlay/gone", O_RDWR | O_CREAT, 0600);
    CHECK(made >= 0 && gone >= 0 && write(gone, "deleted", 7) == 7 && unlink("overlay/gone") == 0);
    int below = open("overlay", O_RDONLY | O_DIRECTORY);
    CHECK(below >= 0);

    save_point();

    char text[32] = {0};
    CHECK(read(reading, text, 8) == 5 && strcmp(text, "tents") == 0 && memcmp(mapped, "contents", 8) == 0);
    struct statvfs of;
    CHECK(fstatvfs(reading, &of) == 0 && (of.f_flag & ST_RDONLY) != 0);
    CHECK(openat(directory, "new", O_WRONLY | O_CREAT, 0600) == -1 && errno == EROFS);
    CHECK(read(kept, text, 8) == 8 && memcmp(text, "contents", 8) == 0);
    CHECK(write(changed, ", end", 5) == 5 && strcmp(slurp("overlay/changed"), "contents, more, end") == 0);
    CHECK(write(made, "made", 4) == 4 && strcmp(slurp("overlay/made"), "made") == 0);
    CHECK(pread(gone, text, 7, 0) == 7 && memcmp(text, "deleted", 7) == 0);
    CHECK(faccessat(below, "made", F_OK, 0) == 0 && access("overlay/gone", F_OK) == -1);
    return ok();
}
