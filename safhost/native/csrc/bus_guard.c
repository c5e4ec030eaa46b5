/* Memory that its owner may cut while we use it.
 *
 * A mapped file that becomes shorter raises SIGBUS where its pages are gone. Ranges that are guarded here get zeros in
 * their place, from the page that was touched to the end of the range, and are marked broken; the access goes on. A
 * SIGBUS anywhere else is left to whoever handled it before. The handler uses atomic loads and mmap(2) alone.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 4096 };

static struct {
    atomic_int used;
    atomic_uintptr_t begin, end;
    atomic_int broken;
} slots[SLOTS];

static struct sigaction before;
static uintptr_t page;

static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < SLOTS; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin), end = atomic_load(&slots[i].end);
        if (!begin || at < begin || at >= end)
            continue;
        void *from = (void *)(at & ~(page - 1));
        if (mmap(from, end - (uintptr_t)from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
            == MAP_FAILED)
            break;
        atomic_store(&slots[i].broken, 1);
        return;
    }
    sigaction(SIGBUS, &before, NULL); /* the access is made again, and faults again */
}

/* 0 when the handler is in place. */
int saf_guard_start(void)
{
    struct sigaction action = {0};
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    action.sa_sigaction = on_bus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &before);
}

/* A number for the range, or -1 when there are too many. ``begin`` is the beginning of a page. */
int saf_guard_add(uintptr_t begin, size_t bytes)
{
    for (int i = 0; i < SLOTS; i++) {
        int free = 0;
        if (!atomic_compare_exchange_strong(&slots[i].used, &free, 1))
            continue;
        atomic_store(&slots[i].broken, 0);
        atomic_store(&slots[i].end, (begin + bytes + page - 1) & ~(page - 1));
        atomic_store(&slots[i].begin, begin);
        return i;
    }
    return -1;
}

void saf_guard_remove(int slot)
{
    atomic_store(&slots[slot].begin, 0);
    atomic_store(&slots[slot].used, 0);
}

int saf_guard_broken(int slot)
{
    return atomic_load(&slots[slot].broken);
}
