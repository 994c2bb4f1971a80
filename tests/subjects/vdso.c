/* The vDSO: functions looked up before the checkpoint still work after it, clocks tell the truth, and time goes forward. */
#include "subject.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/time.h>

/* dlopen-free look-up in the vDSO's dynamic symbols, as Go and musl do it. */
static void *vdso_symbol(const char *name) {
    char *base = (char *)getauxval(AT_SYSINFO_EHDR);
    if (base == NULL) return NULL;
    Elf64_Ehdr *header = (Elf64_Ehdr *)base;
    Elf64_Phdr *segments = (Elf64_Phdr *)(base + header->e_phoff);
    char *bias = base;
    Elf64_Dyn *dynamic = NULL;
    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD) bias = base + segments[i].p_offset - segments[i].p_vaddr;
        if (segments[i].p_type == PT_DYNAMIC) dynamic = (Elf64_Dyn *)(base + segments[i].p_offset);
    }
    Elf64_Sym *symbols = NULL;
    char *names = NULL;
    size_t count = 0;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB) symbols = (Elf64_Sym *)(bias + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_STRTAB) names = bias + dynamic->d_un.d_ptr;
    }
    CHECK(symbols != NULL && names != NULL);
    count = ((char *)names - (char *)symbols) / sizeof *symbols; /* the names follow the symbols in a vDSO */
    for (size_t i = 0; i < count && i < 64; i++)
        if (strcmp(names + symbols[i].st_name, name) == 0) return bias + symbols[i].st_value;
    return NULL;
}

static long clock_by(int (*gettime)(clockid_t, struct timespec *), clockid_t clock) {
    struct timespec now;
    CHECK_EQ(gettime(clock, &now), 0);
    return now.tv_sec * 1000000000l + now.tv_nsec;
}
static int by_system_call(clockid_t clock, struct timespec *now) { return syscall(SYS_clock_gettime, clock, now); }

int main(void) {
    int (*gettime)(clockid_t, struct timespec *) = vdso_symbol("__vdso_clock_gettime");
    int (*timeofday)(struct timeval *, void *) = vdso_symbol("__vdso_gettimeofday");
    int (*cpu)(unsigned *, unsigned *, void *) = vdso_symbol("__vdso_getcpu");
    time_t (*seconds)(time_t *) = vdso_symbol("__vdso_time");
    NEEDS(gettime && timeofday && cpu && seconds, "a vDSO");
    static const clockid_t clocks[] = {CLOCK_REALTIME,       CLOCK_MONOTONIC, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE,
                                       CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME,  CLOCK_TAI};
    enum { COUNT = sizeof clocks / sizeof clocks[0] };
    long before[COUNT];
    for (int i = 0; i < COUNT; i++) before[i] = clock_by(gettime, clocks[i]);

    save_point();

    CHECK((char *)getauxval(AT_SYSINFO_EHDR) != NULL);
    CHECK(vdso_symbol("__vdso_clock_gettime") == gettime);
    for (int i = 0; i < COUNT; i++) {
        /* the vDSO's answer lies between two of the kernel's (coarse clocks tick by up to 10 ms) */
        long low = clock_by(by_system_call, clocks[i]), fast = clock_by(gettime, clocks[i]);
        long library = clock_by(clock_gettime, clocks[i]), high = clock_by(by_system_call, clocks[i]);
        CHECK(before[i] <= low && low <= fast && fast <= library && library <= high);
        CHECK(high - low < 1000000000l);
    }
    struct timeval now;
    CHECK_EQ(timeofday(&now, NULL), 0);
    CHECK(labs((long)now.tv_sec - (long)seconds(NULL)) <= 1);
    CHECK(labs((long)now.tv_sec - time(NULL)) <= 1);
    unsigned processor, node;
    CHECK_EQ(cpu(&processor, &node, NULL), 0);
    CHECK(processor < (unsigned)sysconf(_SC_NPROCESSORS_CONF));
    return ok();
}
