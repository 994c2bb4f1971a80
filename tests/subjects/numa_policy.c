/* NUMA policies: of the process (set_mempolicy) and of a mapping (mbind). One node is enough to have them. */
#include "subject.h"
#include <linux/mempolicy.h>

static void expect(int mode, unsigned long nodes, void *address) {
    int found = -1;
    unsigned long mask[16] = {0};
    CHECK(syscall(SYS_get_mempolicy, &found, mask, 1024, address, address ? MPOL_F_ADDR : 0) == 0);
    CHECK_EQ(found, mode);
    CHECK_EQ(mask[0], nodes);
}

int main(void) {
    unsigned long node0 = 1;
    NEEDS(syscall(SYS_set_mempolicy, MPOL_BIND, &node0, 64) == 0, "a kernel with NUMA policies");
    char *plain = map(8 * PAGE, PROT_READ | PROT_WRITE, 0);
    char *interleaved = map(8 * PAGE, PROT_READ | PROT_WRITE, 0);
    char *preferred = map(8 * PAGE, PROT_READ | PROT_WRITE, 0);
    char *shared = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    CHECK(syscall(SYS_mbind, interleaved, 4 * PAGE, MPOL_INTERLEAVE, &node0, 64, 0) == 0);
    CHECK(syscall(SYS_mbind, preferred, 8 * PAGE, MPOL_PREFERRED | MPOL_F_STATIC_NODES, &node0, 64, 0) == 0);
    CHECK(syscall(SYS_mbind, shared, 8 * PAGE, MPOL_INTERLEAVE, &node0, 64, 0) == 0);
    fill(interleaved, 8 * PAGE, 1);

    save_point();

    check_filled(interleaved, 8 * PAGE, 1);
    expect(MPOL_BIND, 1, NULL);
    expect(MPOL_DEFAULT, 0, plain);
    expect(MPOL_INTERLEAVE, 1, interleaved);
    expect(MPOL_DEFAULT, 0, interleaved + 4 * PAGE);
    expect(MPOL_PREFERRED | MPOL_F_STATIC_NODES, 1, preferred);
    expect(MPOL_INTERLEAVE, 1, shared);
    return ok();
}
