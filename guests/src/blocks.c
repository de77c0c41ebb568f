/*
 * blocks: self-checking blocks on a raw disk. Blocks are rewritten at a set rate, past the page cache, and all are read and verified again and
 * again. A block's counter is kept in memory, apart from the disk: a block that a checkpoint lost or took from another moment than the memory
 * shows even when its content is whole (old), and one of which only a part was written shows too (torn).
 *
 *   blocks DEVICE PORT BLOCKS WRITES_PER_S VERIFY_PER_S SEED FSYNC
 *   status -> {"daemon":"blocks","blocks","prepared","written","verified","rounds","errors","torn","old","error"}
 *   The first turn writes every block once: nothing is known of what the disk held before.
 */
#define _GNU_SOURCE
#include "control.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 4096, BLOCK_WORDS = BLOCK_BYTES / 8, TICK_MS = 20, PREPARED_PER_TICK = 32 };

static int disk, sync_each;
static uint64_t *buffer, *counters, seed, blocks, prepared, written, verified, rounds, errors, torn, old, next_verified;
static char error_text[160];

/* Word 0: number, 1: counter, 2..510: filler of both, 511: sum of the others. */
static uint64_t word_at(uint64_t number, uint64_t counter, uint64_t *state, int at) {
  return at == 0 ? number : at == 1 ? counter : random_next(state) ^ (uint64_t)at;
}

static uint64_t start_state(uint64_t number, uint64_t counter) { return seed ^ (number * 0x9e3779b97f4a7c15ULL) ^ (counter << 20) ^ 1; }

static void write_block(uint64_t number) {
  uint64_t counter = counters[number] + 1, state = start_state(number, counter), sum = 0;
  for (int i = 0; i < BLOCK_WORDS - 1; i++) sum += buffer[i] = word_at(number, counter, &state, i);
  buffer[BLOCK_WORDS - 1] = sum;
  if (pwrite(disk, buffer, BLOCK_BYTES, (off_t)(number * BLOCK_BYTES)) != BLOCK_BYTES) die("write to the disk");
  if (sync_each && fdatasync(disk) < 0) die("sync of the disk");
  counters[number] = counter;
  written++;
}

static void found_wrong(uint64_t number, int whole) {
  if (whole) old++; else torn++;
  if (!errors++)
    snprintf(error_text, sizeof error_text, "block %llu: %s: number %llu counter %llu instead of %llu", (unsigned long long)number, whole ? "whole, but not what was written last" : "torn",
      (unsigned long long)buffer[0], (unsigned long long)buffer[1], (unsigned long long)counters[number]);
  fprintf(stderr, "virtcft guest: blocks: %s\n", error_text);
}

static void verify_block(void) {
  uint64_t number = next_verified, sum = 0;
  if (pread(disk, buffer, BLOCK_BYTES, (off_t)(number * BLOCK_BYTES)) != BLOCK_BYTES) die("read from the disk");
  /* Whole: every word is what its own number and counter ask for. */
  uint64_t state = start_state(buffer[0], buffer[1]), wrong = 0;
  for (int i = 0; i < BLOCK_WORDS - 1; i++) {
    uint64_t word = word_at(buffer[0], buffer[1], &state, i);
    sum += word;
    wrong |= buffer[i] ^ word;
  }
  wrong |= buffer[BLOCK_WORDS - 1] ^ sum;
  if (wrong || buffer[0] != number || buffer[1] != counters[number]) {
    found_wrong(number, !wrong);
    write_block(number);
  }
  verified++;
  next_verified = (next_verified + 1) % blocks;
  if (!next_verified) rounds++;
}

static void answer(const char *command, char *reply, size_t room) {
  if (strcmp(command, "status")) { snprintf(reply, room, "{\"daemon\":\"blocks\",\"refused\":\"commands: status\"}"); return; }
  snprintf(reply, room, "{\"daemon\":\"blocks\",\"blocks\":%llu,\"prepared\":%llu,\"written\":%llu,\"verified\":%llu,\"rounds\":%llu,\"errors\":%llu,\"torn\":%llu,\"old\":%llu,\"error\":\"%s\"}",
    (unsigned long long)blocks, (unsigned long long)prepared, (unsigned long long)written, (unsigned long long)verified, (unsigned long long)rounds, (unsigned long long)errors,
    (unsigned long long)torn, (unsigned long long)old, error_text);
}

static void run(uint16_t port, uint64_t writes_per_s, uint64_t verify_per_s) {
  static struct control control;
  uint64_t state = seed | 1, due_writes = 0, due_verify = 0;
  control_open(&control, port);
  for (;;) {
    struct pollfd set[1 + CONTROL_CLIENTS];
    int count = control_watch(&control, set);
    if (poll(set, (nfds_t)count, TICK_MS) < 0 && errno != EINTR) die("poll");
    control_serve(&control, set, count, answer);
    if (prepared < blocks) {
      for (int i = 0; i < PREPARED_PER_TICK && prepared < blocks; i++) write_block(prepared++);
      continue;
    }
    /* Rates are kept in thousandths so that slow ones do not round to nothing. */
    for (due_writes += writes_per_s * TICK_MS; due_writes >= 1000; due_writes -= 1000) write_block(random_next(&state) % blocks);
    for (due_verify += verify_per_s * TICK_MS; due_verify >= 1000; due_verify -= 1000) verify_block();
  }
}

int main(int count, char **arguments) {
  if (count != 8) { fprintf(stderr, "usage: blocks DEVICE PORT BLOCKS WRITES_PER_S VERIFY_PER_S SEED FSYNC\n"); return 2; }
  blocks = strtoull(arguments[3], NULL, 10);
  seed = strtoull(arguments[6], NULL, 10) * 0x9e3779b97f4a7c15ULL;
  sync_each = atoi(arguments[7]);
  disk = open(arguments[1], O_RDWR | O_DIRECT | O_CLOEXEC);
  if (disk < 0) die(arguments[1]);
  if (!blocks || lseek(disk, 0, SEEK_END) < (off_t)(blocks * BLOCK_BYTES)) { fprintf(stderr, "blocks: BLOCKS above 0, and no more than %s holds\n", arguments[1]); return 2; }
  counters = calloc(blocks, sizeof *counters);
  buffer = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
  if (!counters || !buffer) die("memory for the counters");
  run((uint16_t)atoi(arguments[2]), strtoull(arguments[4], NULL, 10), strtoull(arguments[5], NULL, 10));
}
