/* Code made at run time: in memory that is writable and executable, and in memory that was sealed read-and-execute. */
#include "subject.h"

/* mov eax, imm32; ret */
static int (*emit(unsigned char *at, int value))(void) {
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
    return (int (*)(void))at;
}

int main(void) {
    unsigned char *loose = map(4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
    unsigned char *sealed = map(4 * PAGE, PROT_READ | PROT_WRITE, 0);
    unsigned char *shared = map(4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED);
    int (*one)(void) = emit(loose + 100, 41);
    int (*two)(void) = emit(sealed + 200, 42);
    int (*three)(void) = emit(shared + 300, 43);
    CHECK(mprotect(sealed, 4 * PAGE, PROT_READ | PROT_EXEC) == 0);
    CHECK_EQ(one() + two() + three(), 126);

    save_point();

    CHECK_EQ(one(), 41);
    CHECK_EQ(two(), 42);
    CHECK_EQ(three(), 43);
    emit(loose + 100, 51);
    CHECK_EQ(one(), 51);
    catch_faults();
    CHECK_EQ(signal_of_write(sealed), SIGSEGV);
    return ok();
}
