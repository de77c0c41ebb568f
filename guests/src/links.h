/*
 * One lasting TCP connection between every two guests: of two the later in the list dials the earlier, and a connection that breaks is made
 * again. What is said on it is the daemon's: it greets when a connection stands, and takes what arrives.
 */
#ifndef LINKS_H
#define LINKS_H
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>

enum { LINKS = 64, LINK_BUFFER = 65536, LINK_TICK_MS = 20 };
/* GREETING lasts until the other end's greeting is heard: link_stands. */
enum link_state { LINK_DOWN, LINK_DIALLING, LINK_GREETING, LINK_UP };

struct link {
  struct in_addr address;
  int fd;
  enum link_state state;
  uint64_t since_ns, established; /* established: how many times it has stood */
  size_t in_used, out_used;
  uint8_t in[LINK_BUFFER], out[LINK_BUFFER];
};

/* The connection of that place stands: put the greeting. */
typedef void (*link_greet)(int place);
/* Takes one message from the bytes that have arrived. Returns its length, 0 where it is not whole yet, -1 to hang up. */
typedef int (*link_take)(int place, const uint8_t *bytes, size_t length);

struct links {
  struct in_addr own;
  uint16_t port;
  int count, dial_below, listener; /* those below `dial_below` stand before us in the list */
  struct link *all;
  link_greet greet;
  link_take take;
};

/* `addresses`: of all guests, comma between, our own too. Ends the process with 2 where one is bad or there are more than `most`. */
void links_know(struct links *links, char *addresses, int most);
void links_open(struct links *links);
/* Adds its sockets to `set`; returns how many. At most 1 + LINKS. */
int links_watch(struct links *links, struct pollfd *set);
/* Serves what poll found in the `count` entries that links_watch filled, dials and gives up where it is time. */
void links_serve(struct links *links, const struct pollfd *set, int count);
/* The place of that guest; -1: none of ours. */
int links_place(const struct links *links, struct in_addr address);
int links_up(const struct links *links);
/* The other end's greeting was heard. Returns whether the link has stood before. */
int link_stands(struct link *link);

/* There is room while a daemon says nothing new above link_full: a message is at most a few KiB. */
void link_put(struct link *link, const void *bytes, size_t length);
int link_full(const struct link *link);

/* How many of `per_s` are due since the last call. A long stop is not made up for: at most one second's worth. */
struct pace { uint64_t per_s, before_ns, rest; };
uint64_t pace_due(struct pace *pace);
#endif
