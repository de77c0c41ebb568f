/*
 * The Xen tests' guest, alone in its initramfs: counts aloud, rewrites a table of self-checking pages and checks it again and again.
 * One process that starts no other: under two emulations a fork takes longer than all of its work.
 * On the kernel's command line: test.pages=N test.writes=N (a second) test.deed=poweroff|reboot|panic test.at=N (ticks before the deed).
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 512, TICK_MS = 100 };

static char line[4096];

static long option(const char *name, long otherwise) {
  const char *at = strstr(line, name);
  return at ? atol(at + strlen(name)) : otherwise;
}

static uint64_t word(uint64_t page, uint64_t count, uint64_t i) { return (page + 1) * 0x9e3779b97f4a7c15ULL ^ count << 32 ^ i * 0xff51afd7ed558ccdULL; }

static void deed(void) {
  if (strstr(line, "test.deed=poweroff")) reboot(RB_POWER_OFF);
  if (strstr(line, "test.deed=reboot")) reboot(RB_AUTOBOOT);
  if (strstr(line, "test.deed=panic")) exit(1); /* the kernel panics when its first process ends */
}

int main(void) {
  mkdir("/proc", 0755);
  mount("proc", "/proc", "proc", 0, 0);
  int file = open("/proc/cmdline", O_RDONLY);
  if (file < 0 || read(file, line, sizeof line - 1) < 0) puts("no command line");
  setvbuf(stdout, 0, _IOLBF, 0);
  const uint64_t pages = (uint64_t)option("test.pages=", 512), writes = (uint64_t)option("test.writes=", 50), at = (uint64_t)option("test.at=", 0);
  uint64_t *table = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *counts = calloc(pages, 8);
  uint64_t random = 88172645463325252ULL, verified = 0, errors = 0;
  for (uint64_t page = 0; page < pages; page++)
    for (uint64_t i = 0; i < WORDS; i++) table[page * WORDS + i] = word(page, 0, i);
  puts("guest ready");
  for (uint64_t tick = 1;; tick++) {
    for (uint64_t n = 0; n < writes * TICK_MS / 1000; n++) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      const uint64_t page = random % pages;
      counts[page]++;
      for (uint64_t i = 0; i < WORDS; i++) table[page * WORDS + i] = word(page, counts[page], i);
    }
    for (uint64_t n = 0; n < 8; n++, verified++) {
      const uint64_t page = verified % pages;
      for (uint64_t i = 0; i < WORDS; i++) errors += table[page * WORDS + i] != word(page, counts[page], i);
    }
    printf("tick %llu\n", (unsigned long long)tick);
    if (tick % 10 == 0) printf("{\"verified\":%llu,\"errors\":%llu}\n", (unsigned long long)verified, (unsigned long long)errors);
    if (tick == at) deed();
    nanosleep(&(struct timespec){0, TICK_MS * 1000000}, 0);
  }
}
