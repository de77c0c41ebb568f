// Stands in for the memory of a stopped hypervisor: an exported variable of twelve words. "set <word> <value>" and "get", a line each.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int64_t timers_state[12];

int main(void) {
  char line[128];
  int word;
  while (fgets(line, sizeof line, stdin)) {
    int64_t value;
    if (sscanf(line, "set %d %" SCNd64, &word, &value) == 2 && word >= 0 && word < 12) timers_state[word] = value;
    for (int i = 0; i < 12; i++) printf("%" PRId64 "%c", timers_state[i], i == 11 ? '\n' : ' ');
    fflush(stdout);
  }
  return 0;
}
