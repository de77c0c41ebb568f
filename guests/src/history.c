/*
 * The moment an entry is made goes into its hash. So a guest that is rolled back and then hears the same words again goes on with other
 * hashes: a continuation that differs from what the outside was told shows, even when the words are the same.
 */
#define _GNU_SOURCE
#include "history.h"
#include "control.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HISTORY_ENTRIES = 1 << 20, HISTORY_HASHES = 500 };

static uint64_t chain[HISTORY_ENTRIES + 1], length; /* chain[n]: hash up to entry n; chain[0] is 0 */

static uint64_t link_hash(uint64_t before, uint64_t number, const char *word) {
  uint64_t state = before ^ (number * 0x9e3779b97f4a7c15ULL) ^ now_ns() ^ 1;
  for (; *word; word++) { state ^= (uint64_t)(unsigned char)*word << 8; state = random_next(&state) | 1; }
  return random_next(&state);
}

void history_answer(const char *command, char *reply, size_t room) {
  if (!strncmp(command, "append ", 7) && command[7]) {
    if (length == HISTORY_ENTRIES) { snprintf(reply, room, "{\"daemon\":\"history\",\"refused\":\"the history is full\"}"); return; }
    chain[length + 1] = link_hash(chain[length], length + 1, command + 7);
    length++;
    snprintf(reply, room, "{\"daemon\":\"history\",\"number\":%llu,\"hash\":\"%016llx\"}", (unsigned long long)length, (unsigned long long)chain[length]);
  } else if (!strncmp(command, "hashes ", 7)) {
    uint64_t from = strtoull(command + 7, NULL, 10);
    if (!from) from = 1;
    size_t at = (size_t)snprintf(reply, room, "{\"daemon\":\"history\",\"length\":%llu,\"from\":%llu,\"hashes\":[", (unsigned long long)length, (unsigned long long)from);
    for (uint64_t number = from; number <= length && number < from + HISTORY_HASHES; number++)
      at += (size_t)snprintf(reply + at, room - at, "%s\"%016llx\"", number > from ? "," : "", (unsigned long long)chain[number]);
    snprintf(reply + at, room - at, "]}");
  } else snprintf(reply, room, "{\"daemon\":\"history\",\"refused\":\"commands: append WORD, hashes FROM\"}");
}
