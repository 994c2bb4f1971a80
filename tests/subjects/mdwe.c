/* PR_SET_MDWE (memory-deny-write-execute, Linux 6.3): code that was there runs on, new code is still refused. */
#include "subject.h"
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

int main(void) {
    unsigned char *code = map(PAGE, PROT_READ | PROT_WRITE, 0);
    unsigned char *data = map(PAGE, PROT_READ | PROT_WRITE, 0);
    memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov eax, 42; ret */
    CHECK(mprotect(code, PAGE, PROT_READ | PROT_EXEC) == 0);
    NEEDS(prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0, "a kernel with PR_SET_MDWE (Linux 6.3)");

    save_point();

    CHECK_EQ(prctl(PR_GET_MDWE, 0, 0, 0, 0), PR_MDWE_REFUSE_EXEC_GAIN);
    CHECK_EQ(((int (*)(void))code)(), 42);
    CHECK(mprotect(data, PAGE, PROT_READ | PROT_EXEC) == -1 && errno == EACCES);
    CHECK(mmap(NULL, PAGE, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EACCES);
    return ok();
}
