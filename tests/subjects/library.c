/* A library that with_library loads at run time. */
int answer(void) { return 42; }
