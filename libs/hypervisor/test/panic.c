/* Writes what a kernel with the pvpanic driver writes when it panics. */
#include <stdio.h>
#include <sys/io.h>

int main(void) {
  if (ioperm(0x505, 1, 1)) { perror("ioperm"); return 1; }
  outb(1, 0x505);
  return 0;
}
