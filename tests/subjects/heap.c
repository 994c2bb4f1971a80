/* The heap: malloc's own structures work on, and brk(2) goes on from where it was, contiguous with the old one. */
#include "subject.h"

struct node {
    struct node *next;
    size_t bytes;
    char content[];
};

int main(void) {
    struct node *list = NULL;
    for (size_t i = 0; i < 5000; i++) {
        size_t bytes = (i * 37 % 600) / 8 * 8;
        struct node *node = malloc(sizeof *node + bytes);
        CHECK(node != NULL);
        *node = (struct node){.next = list, .bytes = bytes};
        fill(node->content, bytes, i);
        list = node;
    }
    char *end = sbrk(0);
    char *page = sbrk(3 * PAGE);
    CHECK(page == end);
    fill(page, 3 * PAGE, 9);

    save_point();

    CHECK(sbrk(0) == end + 3 * PAGE);
    check_filled(page, 3 * PAGE, 9);
    char *more = sbrk(64 * PAGE);
    CHECK(more == end + 3 * PAGE);
    check_zero(more, 64 * PAGE);
    fill(page, 67 * PAGE, 10);
    check_filled(page, 67 * PAGE, 10);
    CHECK(sbrk(-60 * (long)PAGE) == more + 64 * PAGE);
    catch_faults();
    CHECK_EQ(signal_of_read(more + 32 * PAGE), SIGSEGV);

    size_t count = 5000;
    while (list != NULL) {
        struct node *next = list->next;
        check_filled(list->content, list->bytes, --count);
        free(list);
        list = next;
    }
    CHECK_EQ(count, 0);
    for (int i = 0; i < 1000; i++) CHECK(malloc(3000) != NULL);
    return ok();
}
