#define _GNU_SOURCE
#include "control.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void die(const char *what) {
  fprintf(stderr, "virtcft guest: %s: %s\n", what, strerror(errno));
  exit(1);
}

uint64_t random_next(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12; x ^= x << 25; x ^= x >> 27;
  *state = x;
  return x * 0x2545f4914f6cdd1dULL;
}

void set_nonblocking(int fd) {
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) die("fcntl");
}

int listen_on(uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0 || listen(fd, 16) < 0) die("listen");
  return fd;
}

void control_open(struct control *control, uint16_t port) {
  control->listener = listen_on(port);
  for (int i = 0; i < CONTROL_CLIENTS; i++) control->clients[i].fd = -1;
}

int control_watch(struct control *control, struct pollfd *set) {
  int count = 0;
  set[count++] = (struct pollfd){ .fd = control->listener, .events = POLLIN };
  for (int i = 0; i < CONTROL_CLIENTS; i++)
    if (control->clients[i].fd >= 0) set[count++] = (struct pollfd){ .fd = control->clients[i].fd, .events = POLLIN };
  return count;
}

static void hang_up(struct control *control, int i) {
  close(control->clients[i].fd);
  control->clients[i].fd = -1;
}

static void welcome(struct control *control) {
  int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  int slot = 0;
  while (slot < CONTROL_CLIENTS && control->clients[slot].fd >= 0) slot++;
  /* All in use: the first is let go, so that clients which vanished during a failure cannot lock the port for ever. */
  if (slot == CONTROL_CLIENTS) hang_up(control, slot = 0);
  control->clients[slot].fd = fd;
  control->clients[slot].used = 0;
}

static void read_client(struct control *control, int i, control_answer answer) {
  static char reply[CONTROL_REPLY];
  char *line = control->clients[i].line, *end;
  size_t *used = &control->clients[i].used;
  ssize_t got = read(control->clients[i].fd, line + *used, CONTROL_LINE - 1 - *used);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) { hang_up(control, i); return; }
  *used += (size_t)got;
  line[*used] = 0;
  while ((end = strchr(line, '\n'))) {
    *end = 0;
    answer(line, reply, sizeof reply - 1);
    strcat(reply, "\n");
    size_t length = strlen(reply);
    if (send(control->clients[i].fd, reply, length, MSG_NOSIGNAL) != (ssize_t)length) { hang_up(control, i); return; }
    *used -= (size_t)(end + 1 - line);
    memmove(line, end + 1, *used + 1);
  }
  if (*used >= CONTROL_LINE - 1) hang_up(control, i);
}

void control_serve(struct control *control, const struct pollfd *set, int count, control_answer answer) {
  for (int k = 1; k < count; k++)
    for (int i = 0; set[k].revents && i < CONTROL_CLIENTS; i++)
      if (control->clients[i].fd == set[k].fd) { read_client(control, i, answer); break; }
  if (set[0].revents) welcome(control);
}
