/* memfds: names, seals of all kinds, mappings of all kinds, modes, several descriptors of one. */
#include "subject.h"
#include <linux/memfd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

int main(void) {
    int plain = memfd_create("plain name", 0);
    CHECK(plain >= 0 && ftruncate(plain, 8 * PAGE) == 0);
    char *mapped = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
    char *part = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, plain, 2 * PAGE);
    char *copy = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, plain, 0);
    CHECK(mapped != MAP_FAILED && part != MAP_FAILED && copy != MAP_FAILED);
    fill(mapped, 4 * PAGE, 1);
    fill(copy + PAGE, PAGE, 2);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", plain);
    int reading = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(reading >= 0 && lseek(reading, 5, SEEK_SET) == 5);
    char *readable = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reading, 0);
    CHECK(readable != MAP_FAILED);
    int twin = dup(plain);
    CHECK(twin >= 0 && lseek(twin, 100, SEEK_SET) == 100);

    int sealed = memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    CHECK(sealed >= 0 && write(sealed, "sealed", 6) == 6);
    CHECK(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
    char *seen = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, sealed, 0);
    bool seen_is_mapped = seen != MAP_FAILED; /* Linux 6.7 */

    int later = memfd_create("later", MFD_ALLOW_SEALING);
    CHECK(later >= 0 && ftruncate(later, PAGE) == 0);
    char *writable = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, later, 0);
    CHECK(writable != MAP_FAILED && fcntl(later, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
    strcpy(writable, "before");

    int open_to_seals = memfd_create("open", MFD_ALLOW_SEALING);
    int noexec = memfd_create("noexec", MFD_NOEXEC_SEAL);
    int only_mapped = memfd_create("", 0);
    CHECK(open_to_seals >= 0 && only_mapped >= 0 && ftruncate(only_mapped, PAGE) == 0);
    CHECK(fchmod(open_to_seals, 0640) == 0);
    char *kept = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, only_mapped, 0);
    CHECK(kept != MAP_FAILED && close(only_mapped) == 0);
    strcpy(kept, "kept");

    save_point();

    check_filled(mapped, 4 * PAGE, 1);
    check_zero(mapped + 4 * PAGE, 4 * PAGE);
    CHECK(memcmp(part, mapped + 2 * PAGE, 2 * PAGE) == 0);
    CHECK(memcmp(copy, mapped, PAGE) == 0);
    check_filled(copy + PAGE, PAGE, 2);
    CHECK_EQ(lseek(reading, 0, SEEK_CUR), 5);
    CHECK_EQ(lseek(plain, 0, SEEK_CUR), 100);
    CHECK(write(twin, "one file", 8) == 8 && memcmp(mapped + 100, "one file", 8) == 0);
    CHECK(memcmp(readable + 100, "one file", 8) == 0);
    CHECK_EQ(lseek(plain, 0, SEEK_CUR), 108);
    CHECK_EQ(mprotect(readable, PAGE, PROT_READ | PROT_WRITE), -1);
    CHECK_EQ(fcntl(plain, F_GET_SEALS), F_SEAL_SEAL);

    CHECK_EQ(fcntl(sealed, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    char text[8] = {0};
    CHECK(pread(sealed, text, 7, 0) == 6 && strcmp(text, "sealed") == 0);
    CHECK(pwrite(sealed, "x", 1, 0) == -1 && errno == EPERM);
    if (seen_is_mapped) CHECK(strcmp(seen, "sealed") == 0);

    CHECK_EQ(fcntl(later, F_GET_SEALS), F_SEAL_FUTURE_WRITE);
    strcpy(writable + 6, " and after");
    CHECK(pread(later, text, 7, 7) == 7 && memcmp(text, "and aft", 7) == 0);
    CHECK(pwrite(later, "x", 1, 0) == -1 && errno == EPERM);

    CHECK_EQ(fcntl(open_to_seals, F_GET_SEALS), 0);
    struct stat stat;
    CHECK(fstat(open_to_seals, &stat) == 0);
    CHECK_EQ(stat.st_mode, S_IFREG | 0640);
    if (noexec >= 0) {
        CHECK_EQ(fcntl(noexec, F_GET_SEALS), F_SEAL_EXEC);
        CHECK(fchmod(noexec, 0777) == -1 && errno == EPERM);
    }
    CHECK(strcmp(kept, "kept") == 0);
    return ok();
}
