/*
 * pattern: a table of self-checking pages. Pages are rewritten at a set rate and all are verified again and again. What a page must hold
 * (its counter) is kept apart from the page, so that a page lost by a checkpoint shows even when its old content is whole.
 * Also a probe of gaps in the guest's own time (each wake-up is dear under emulation: 1 kHz costs some 17 % of a vCPU), and a thread that burns the rest of the CPU when the load says so.
 *
 *   pattern PORT PAGES WRITES_PER_S VERIFY_PER_S ENTROPY_PERCENT SEED SPIN PROBE_HZ
 *   WRITES_PER_S -1: without end; PROBE_HZ 0: no probe
 *   status -> {"daemon":"pattern","pages","written","verified","errors","error","rounds"}
 *   gap    -> {"daemon":"gap","longest_us","samples"}: since asked last
 *   reboot, poweroff, panic -> {"daemon":"power","order"}: the guest does so a second later
 */
#define _GNU_SOURCE
#include "control.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_WORDS = 512, TICK_MS = 20, ENDLESS_BATCH = 256 };

static uint64_t *table, *counters, seed;
static uint64_t pages, written, verified, errors, rounds, next_verified;
static unsigned entropy_percent, probe_hz;
static char error_text[160];
static atomic_ullong gap_longest_ns, gap_samples;

/* Word 0: index, 1: counter, 2..510: filler, 511: sum of the others. */
static uint64_t fill(uint64_t *page, uint64_t index, uint64_t counter, int check_only) {
  uint64_t state = seed ^ (index * 0x9e3779b97f4a7c15ULL) ^ (counter << 20) ^ 1, sum = index + counter, wrong = 0;
  unsigned random_words = (PAGE_WORDS - 3) * entropy_percent / 100;
  if (check_only) wrong |= (page[0] ^ index) | (page[1] ^ counter);
  else { page[0] = index; page[1] = counter; }
  for (unsigned i = 2; i < PAGE_WORDS - 1; i++) {
    uint64_t word = i - 2 < random_words ? random_next(&state) : counter;
    sum += word;
    if (check_only) wrong |= page[i] ^ word;
    else page[i] = word;
  }
  if (check_only) wrong |= page[PAGE_WORDS - 1] ^ sum;
  else page[PAGE_WORDS - 1] = sum;
  return wrong;
}

static void write_page(uint64_t *state) {
  uint64_t index = random_next(state) % pages;
  fill(table + index * PAGE_WORDS, index, ++counters[index], 0);
  written++;
}

static void verify_page(void) {
  uint64_t index = next_verified, *page = table + index * PAGE_WORDS;
  if (fill(page, index, counters[index], 1)) {
    if (!errors++)
      snprintf(error_text, sizeof error_text, "page %llu: index %llu counter %llu instead of %llu", (unsigned long long)index,
        (unsigned long long)page[0], (unsigned long long)page[1], (unsigned long long)counters[index]);
    fprintf(stderr, "virtcft guest: pattern: %s\n", error_text);
    fill(page, index, counters[index], 0);
  }
  verified++;
  next_verified = (next_verified + 1) % pages;
  if (!next_verified) rounds++;
}

static void *probe_gaps(void *unused) {
  uint64_t before = now_ns();
  for (;;) {
    struct timespec pause = { .tv_nsec = 1000000000 / probe_hz - 1 };
    nanosleep(&pause, NULL);
    uint64_t now = now_ns(), gap = now - before;
    before = now;
    if (gap > gap_longest_ns) gap_longest_ns = gap;
    gap_samples++;
  }
  return unused;
}

static void *spin(void *unused) {
  for (volatile uint64_t turns = 0;; turns++) {}
  return unused;
}

/* Ends or restarts the guest a second later, so that the answer gets out first. */
enum power { POWER_NONE, POWER_REBOOT, POWER_OFF, POWER_PANIC };
static enum power power_order;
static uint64_t power_due_ns;

static void power_ordered(enum power order) {
  power_order = order;
  power_due_ns = now_ns() + 1000000000u;
}

static void power_turn(void) {
  if (power_order == POWER_NONE || now_ns() < power_due_ns) return;
  enum power order = power_order;
  power_order = POWER_NONE;
  if (order == POWER_PANIC) {
    int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "c", 1) != 1) die("/proc/sysrq-trigger");
  } else if (reboot(order == POWER_OFF ? RB_POWER_OFF : RB_AUTOBOOT) < 0) die("reboot");
}

static void answer(const char *command, char *reply, size_t room) {
  if (!strcmp(command, "gap")) {
    unsigned long long longest = atomic_exchange(&gap_longest_ns, 0), samples = atomic_exchange(&gap_samples, 0);
    snprintf(reply, room, "{\"daemon\":\"gap\",\"longest_us\":%llu,\"samples\":%llu}", longest / 1000, samples);
  } else if (!strcmp(command, "status")) {
    snprintf(reply, room, "{\"daemon\":\"pattern\",\"pages\":%llu,\"written\":%llu,\"verified\":%llu,\"rounds\":%llu,\"errors\":%llu,\"error\":\"%s\"}",
      (unsigned long long)pages, (unsigned long long)written, (unsigned long long)verified, (unsigned long long)rounds,
      (unsigned long long)errors, error_text);
  } else if (!strcmp(command, "reboot") || !strcmp(command, "poweroff") || !strcmp(command, "panic")) {
    power_ordered(!strcmp(command, "reboot") ? POWER_REBOOT : !strcmp(command, "poweroff") ? POWER_OFF : POWER_PANIC);
    snprintf(reply, room, "{\"daemon\":\"power\",\"order\":\"%s\"}", command);
  } else {
    snprintf(reply, room, "{\"daemon\":\"pattern\",\"refused\":\"commands: status, gap, reboot, poweroff, panic\"}");
  }
}

static void run(uint16_t port, int64_t writes_per_s, uint64_t verify_per_s) {
  static struct control control;
  uint64_t state = seed | 1, due_writes = 0, due_verify = 0;
  uint64_t per_tick_writes = writes_per_s < 0 ? ENDLESS_BATCH * 1000 : (uint64_t)writes_per_s * TICK_MS;
  control_open(&control, port);
  for (;;) {
    struct pollfd set[1 + CONTROL_CLIENTS];
    int count = control_watch(&control, set);
    if (poll(set, (nfds_t)count, writes_per_s < 0 ? 0 : TICK_MS) < 0 && errno != EINTR) die("poll");
    control_serve(&control, set, count, answer);
    power_turn();
    /* Rates are kept in thousandths so that slow ones do not round to nothing. */
    for (due_writes += per_tick_writes; due_writes >= 1000; due_writes -= 1000) write_page(&state);
    for (due_verify += verify_per_s * TICK_MS; due_verify >= 1000; due_verify -= 1000) verify_page();
  }
}

int main(int count, char **arguments) {
  pthread_t thread;
  if (count != 9) { fprintf(stderr, "usage: pattern PORT PAGES WRITES_PER_S VERIFY_PER_S ENTROPY_PERCENT SEED SPIN PROBE_HZ\n"); return 2; }
  pages = strtoull(arguments[2], NULL, 10);
  entropy_percent = (unsigned)atoi(arguments[5]);
  seed = strtoull(arguments[6], NULL, 10) * 0x9e3779b97f4a7c15ULL;
  if (!pages || entropy_percent > 100) { fprintf(stderr, "pattern: PAGES above 0, ENTROPY_PERCENT 0 to 100\n"); return 2; }
  table = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  counters = calloc(pages, sizeof *counters);
  if (table == MAP_FAILED || !counters) die("memory for the table");
  for (uint64_t i = 0; i < pages; i++) fill(table + i * PAGE_WORDS, i, 0, 0);
  probe_hz = (unsigned)atoi(arguments[8]);
  if (probe_hz && pthread_create(&thread, NULL, probe_gaps, NULL)) die("pthread_create");
  if (atoi(arguments[7]) && pthread_create(&thread, NULL, spin, NULL)) die("pthread_create");
  run((uint16_t)atoi(arguments[1]), atoll(arguments[3]), strtoull(arguments[4], NULL, 10));
}
