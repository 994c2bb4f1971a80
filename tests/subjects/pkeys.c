/* Memory protection keys: the key of a mapping and the rights register (PKRU) of each thread. */
#include "subject.h"

int main(void) {
    int key = pkey_alloc(0, 0);
    NEEDS(key >= 0, "a processor with protection keys");
    char *area = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    fill(area, 4 * PAGE, 1);
    CHECK(pkey_mprotect(area, 4 * PAGE, PROT_READ | PROT_WRITE, key) == 0);
    CHECK(pkey_set(key, PKEY_DISABLE_ACCESS) == 0);

    save_point();

    CHECK_EQ(pkey_get(key), PKEY_DISABLE_ACCESS);
    catch_faults();
    CHECK_EQ(signal_of_read(area), SIGSEGV);
    CHECK(pkey_set(key, 0) == 0);
    check_filled(area, 4 * PAGE, 1);
    int other = pkey_alloc(0, 0);
    CHECK(other >= 0 && other != key);
    CHECK(pkey_free(key) == 0);
    return ok();
}
