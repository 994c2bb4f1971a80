/* The personality: no address randomisation, and readable memory is executable, for mappings to come and not for old ones. */
#include "subject.h"
#include <sys/personality.h>

static bool executable(const void *address) { return has_vm_flag(address, "ex"); }

int main(void) {
    char *before = map(PAGE, PROT_READ | PROT_WRITE, 0);
    NEEDS(personality(ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC | ADDR_COMPAT_LAYOUT) >= 0, "personality(2)");
    char *with = map(PAGE, PROT_READ | PROT_WRITE, 0);
    CHECK(!executable(before) && executable(with));

    save_point();

    CHECK_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC | ADDR_COMPAT_LAYOUT);
    CHECK(!executable(before) && executable(with));
    char *after = map(PAGE, PROT_READ | PROT_WRITE, 0);
    CHECK(executable(after));
    return ok();
}
