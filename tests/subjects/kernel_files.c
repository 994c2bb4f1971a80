/* Files of the kernel's own: of /proc, about the program and about the machine; of /sys; directories, and places in them. */
#include "subject.h"
#include <dirent.h>

int main(void) {
    int status = open("/proc/self/status", O_RDONLY), uptime = open("/proc/uptime", O_RDONLY | O_CLOEXEC);
    int memory = open("/proc/self/mem", O_RDWR), directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    int score = open("/proc/self/oom_score_adj", O_RDWR), online = open("/sys/devices/system/cpu/online", O_RDONLY);
    int process = open("/proc/self", O_PATH | O_DIRECTORY), system = open("/sys/kernel", O_RDONLY | O_DIRECTORY);
    CHECK(status >= 0 && uptime >= 0 && memory >= 0 && directory >= 0 && score >= 0 && process >= 0);
    NEEDS(online >= 0 && system >= 0, "/sys");
    char line[32] = {0}, name[16];
    CHECK(pread(status, line, 5, 0) == 5 && lseek(status, 6, SEEK_SET) == 6);
    static volatile int word = 7;

    save_point();

    CHECK_EQ(lseek(status, 0, SEEK_CUR), 6);
    CHECK(prctl(PR_GET_NAME, name) == 0);
    CHECK(read(status, line, strlen(name)) == (ssize_t)strlen(name) && memcmp(line, name, strlen(name)) == 0);
    double seconds;
    CHECK(pread(uptime, line, 31, 0) > 0 && sscanf(line, "%lf", &seconds) == 1 && seconds > 0);
    int value = 9;
    CHECK(pwrite(memory, &value, sizeof value, (off_t)&word) == sizeof value && word == 9);
    CHECK(write(score, "0", 1) == 1);
    CHECK(pread(online, line, 1, 0) == 1 && line[0] >= '0' && line[0] <= '9');
    CHECK(faccessat(process, "status", R_OK, 0) == 0 && faccessat(system, ".", R_OK, 0) == 0);
    DIR *listing = fdopendir(directory);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(listing));) count += entry->d_name[0] != '.';
    CHECK_EQ(count, 3 + 8);
    return ok();
}
