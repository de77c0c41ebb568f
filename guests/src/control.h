/* The control port of a guest daemon: one command per line, one JSON object per line back. Connections stay open. */
#ifndef CONTROL_H
#define CONTROL_H
#include <poll.h>
#include <stddef.h>
#include <stdint.h>

enum { CONTROL_CLIENTS = 8, CONTROL_LINE = 128, CONTROL_REPLY = 16384 };

struct control {
  int listener;
  struct { int fd; size_t used; char line[CONTROL_LINE]; } clients[CONTROL_CLIENTS];
};

/* Writes the answer to `command` into `reply`, without the line's end. */
typedef void (*control_answer)(const char *command, char *reply, size_t room);

void control_open(struct control *control, uint16_t port);
/* Adds its sockets to `set`; returns how many. At most 1 + CONTROL_CLIENTS. */
int control_watch(struct control *control, struct pollfd *set);
/* Serves what poll found in the `count` entries that control_watch filled. */
void control_serve(struct control *control, const struct pollfd *set, int count, control_answer answer);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);
/* Prints the message and the errno text, then exits: init sees it on the console. */
__attribute__((noreturn)) void die(const char *what);
/* xorshift64*; never 0 for a state that is not 0. */
uint64_t random_next(uint64_t *state);
int listen_on(uint16_t port);
void set_nonblocking(int fd);
#endif
