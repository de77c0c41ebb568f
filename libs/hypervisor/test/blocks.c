/* Writes numbered blocks to a disk, past the page cache, and reads others back: what was last written to each is kept in memory, so a disk that is
 * not of the same moment as the memory shows as an error. Says "disk N errors E". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 512, WORDS = BLOCK / 8 };

static uint64_t last[BLOCKS];

static void fill(uint64_t *block, uint64_t number, uint64_t counter) {
  for (int i = 0; i < WORDS; i++) block[i] = counter == 0 ? 0 : (number * 0x9e3779b97f4a7c15u) ^ (counter << 20) ^ (uint64_t)i;
}

int main(int argc, char **argv) {
  int disk = open(argc > 1 ? argv[1] : "/dev/vda", O_RDWR | O_DIRECT);
  uint64_t *block, *expected;
  if (disk < 0 || posix_memalign((void **)&block, BLOCK, BLOCK) || posix_memalign((void **)&expected, BLOCK, BLOCK)) { perror("blocks"); return 1; }
  unsigned seed = 1;
  long errors = 0;
  for (uint64_t n = 1;; n++) {
    int to = rand_r(&seed) % BLOCKS, from = rand_r(&seed) % BLOCKS;
    fill(block, to, n);
    if (pwrite(disk, block, BLOCK, (off_t)to * BLOCK) != BLOCK) errors++;
    last[to] = n;
    if (n % 16 == 0 && fsync(disk) != 0) errors++;
    fill(expected, from, last[from]);
    if (pread(disk, block, BLOCK, (off_t)from * BLOCK) != BLOCK || memcmp(block, expected, BLOCK) != 0) errors++;
    if (n % 20 == 0) { printf("disk %lu errors %ld\n", (unsigned long)n, errors); fflush(stdout); usleep(20000); }
  }
}
