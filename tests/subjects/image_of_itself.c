/*
 * The program's own image: data, bss, relocated read-only data, functions the loader chose (ifunc), thread-local variables.
 * Built in every shape an executable has: PIE, at a fixed address, static, static PIE, stripped.
 */
#include "subject.h"
#include <math.h>

static char initialised[3 * PAGE] = "initialised";
static char zeroed[100 * PAGE];
static const char *const relocated[] = {"one", "two", "three"};
static __thread int own = 5;
static int chosen(int x) { return x * 3; }
static int (*(*choose)(void))(int);
static int (*resolver(void))(int) { return chosen; }
static int by_ifunc(int) __attribute__((ifunc("resolver")));

int main(void) {
    memset(initialised + PAGE, 'i', PAGE);
    fill(zeroed + 10 * PAGE, 5 * PAGE, 1);
    own += 37;
    choose = resolver;
    char *copy = strdup(relocated[2]);
    volatile double two = 2.0;

    save_point();

    CHECK(strcmp(initialised, "initialised") == 0 && initialised[PAGE + 77] == 'i' && initialised[2 * PAGE] == 0);
    check_zero(zeroed, 10 * PAGE);
    check_filled(zeroed + 10 * PAGE, 5 * PAGE, 1);
    check_zero(zeroed + 15 * PAGE, 85 * PAGE);
    CHECK_EQ(own, 42);
    CHECK_EQ(by_ifunc(14), 42);
    CHECK(choose()(5) == 15);
    CHECK(strcmp(copy, relocated[2]) == 0 && strcmp(relocated[0], "one") == 0);
    char text[32];
    snprintf(text, sizeof text, "%.3f", sqrt(two)); /* lazily bound, perhaps for the first time only now */
    CHECK(strcmp(text, "1.414") == 0);
    free(copy);
    return ok();
}
