/* Names given to anonymous memory (PR_SET_VMA_ANON_NAME, Linux 5.17, CONFIG_ANON_VMA_NAME). */
#include "subject.h"
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static bool named(const void *address, const char *name) {
    char line[256], wanted[64];
    snprintf(wanted, sizeof wanted, "%lx-", (unsigned long)address);
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    bool found = false;
    while (fgets(line, sizeof line, maps))
        if (strncmp(line, wanted, strlen(wanted)) == 0) found = strstr(line, name) != NULL;
    fclose(maps);
    return found;
}

int main(void) {
    char *area = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    char *other = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    NEEDS(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, area, 2 * PAGE, "an arena of ours") == 0,
          "a kernel with CONFIG_ANON_VMA_NAME");
    CHECK(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, area + 2 * PAGE, 2 * PAGE, "another: !#") == 0);
    CHECK(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, other, 4 * PAGE, "shared too") == 0);
    CHECK(named(area, "[anon:an arena of ours]"));

    save_point();

    CHECK(named(area, "[anon:an arena of ours]"));
    CHECK(named(area + 2 * PAGE, "[anon:another: !#]"));
    CHECK(named(other, "[anon_shmem:shared too]"));
    return ok();
}
