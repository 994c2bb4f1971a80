/* Advice that the kernel remembers (and shows in VmFlags) is still in force; the two that concern fork are tried out. */
#include "subject.h"

static const struct {
    int advice;
    const char *flag;
} table[] = {
    {MADV_SEQUENTIAL, "sr"}, {MADV_RANDOM, "rr"},     {MADV_DONTFORK, "dc"},   {MADV_DONTDUMP, "dd"},
    {MADV_WIPEONFORK, "wf"}, {MADV_HUGEPAGE, "hg"},   {MADV_NOHUGEPAGE, "nh"}, {MADV_MERGEABLE, "mg"},
};
enum { COUNT = sizeof table / sizeof table[0] };

int main(void) {
    char *mapped[COUNT];
    bool taken[COUNT];
    for (int i = 0; i < COUNT; i++) {
        mapped[i] = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
        fill(mapped[i], 4 * PAGE, i);
        /* a kernel built without KSM or huge pages refuses that one: then there is nothing to keep */
        taken[i] = madvise(mapped[i], 4 * PAGE, table[i].advice) == 0;
        CHECK(taken[i] || errno == EINVAL);
        CHECK_EQ(has_vm_flag(mapped[i], table[i].flag), taken[i]);
    }
    /* all at once on one mapping, as far as they go together */
    char *many = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    CHECK(madvise(many, 4 * PAGE, MADV_RANDOM) == 0);
    CHECK(madvise(many, 4 * PAGE, MADV_DONTDUMP) == 0);
    CHECK(madvise(many, 4 * PAGE, MADV_DONTFORK) == 0);

    save_point();

    for (int i = 0; i < COUNT; i++) {
        check_filled(mapped[i], 4 * PAGE, i);
        if (has_vm_flag(mapped[i], table[i].flag) != taken[i]) FAIL("the flag %s is not as it was\n", table[i].flag);
    }
    CHECK(has_vm_flag(many, "rr") && has_vm_flag(many, "dd") && has_vm_flag(many, "dc"));

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        catch_faults();
        CHECK_EQ(signal_of_read(mapped[2]), SIGSEGV);
        check_zero(mapped[4], 4 * PAGE);
        check_filled(mapped[0], 4 * PAGE, 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    return ok();
}
