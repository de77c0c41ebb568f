#define _GNU_SOURCE
#include "links.h"
#include "control.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RETRY_MS = 500, GREETING_MS = 5000 };

void links_know(struct links *links, char *addresses, int most) {
  links->all = calloc((size_t)most, sizeof *links->all);
  if (!links->all) die("memory for the links");
  for (char *word = strtok(addresses, ","); word; word = strtok(NULL, ",")) {
    struct in_addr address;
    if (inet_pton(AF_INET, word, &address) != 1 || links->count == most) { fprintf(stderr, "virtcft guest: bad address or too many: %s\n", word); exit(2); }
    if (address.s_addr == links->own.s_addr) { links->dial_below = links->count; continue; }
    links->all[links->count].address = address;
    links->all[links->count++].fd = -1;
  }
}

void links_open(struct links *links) { links->listener = listen_on(links->port); }

int links_place(const struct links *links, struct in_addr address) {
  for (int i = 0; i < links->count; i++) if (links->all[i].address.s_addr == address.s_addr) return i;
  return -1;
}

int links_up(const struct links *links) {
  int up = 0;
  for (int i = 0; i < links->count; i++) up += links->all[i].state == LINK_UP;
  return up;
}

void link_put(struct link *link, const void *bytes, size_t length) {
  memcpy(link->out + link->out_used, bytes, length);
  link->out_used += length;
}

int link_full(const struct link *link) { return link->out_used > LINK_BUFFER / 4; }

static void enter(struct link *link, enum link_state state) {
  link->state = state;
  link->since_ns = now_ns();
}

int link_stands(struct link *link) {
  enter(link, LINK_UP);
  return link->established++ > 0;
}

static void hang_up(struct link *link) {
  if (link->fd >= 0) close(link->fd);
  link->fd = -1;
  enter(link, LINK_DOWN);
}

static void greet(struct links *links, struct link *link) {
  int on = 1;
  setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  enter(link, LINK_GREETING);
  link->in_used = link->out_used = 0;
  links->greet((int)(link - links->all));
}

static void dial(struct links *links, struct link *link) {
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(links->port), .sin_addr = link->address };
  link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (link->fd < 0) die("socket");
  enter(link, LINK_DIALLING);
  if (connect(link->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) hang_up(link);
}

static void dialled(struct links *links, struct link *link) {
  int failed = 0;
  socklen_t length = sizeof failed;
  getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &failed, &length);
  if (failed) hang_up(link); else greet(links, link);
}

static void accept_link(struct links *links) {
  struct sockaddr_in from;
  socklen_t length = sizeof from;
  int fd = accept4(links->listener, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  int place = links_place(links, from.sin_addr);
  if (place < links->dial_below) { close(fd); return; }
  hang_up(&links->all[place]);
  links->all[place].fd = fd;
  greet(links, &links->all[place]);
}

static void read_link(struct links *links, struct link *link) {
  ssize_t got = read(link->fd, link->in + link->in_used, LINK_BUFFER - link->in_used);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) { hang_up(link); return; }
  link->in_used += (size_t)got;
  size_t at = 0;
  for (int taken; (taken = links->take((int)(link - links->all), link->in + at, link->in_used - at)); at += (size_t)taken)
    if (taken < 0) { hang_up(link); return; }
  memmove(link->in, link->in + at, link->in_used -= at);
}

static void write_link(struct link *link) {
  ssize_t sent = send(link->fd, link->out, link->out_used, MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (sent < 0) { hang_up(link); return; }
  memmove(link->out, link->out + sent, link->out_used -= (size_t)sent);
}

int links_watch(struct links *links, struct pollfd *set) {
  int count = 0;
  set[count++] = (struct pollfd){ .fd = links->listener, .events = POLLIN };
  for (int i = 0; i < links->count; i++) {
    const struct link *link = &links->all[i];
    if (link->fd < 0) continue;
    set[count++] = (struct pollfd){ .fd = link->fd, .events = link->state == LINK_DIALLING ? POLLOUT : (short)(POLLIN | (link->out_used ? POLLOUT : 0)) };
  }
  return count;
}

static void serve_link(struct links *links, struct link *link, short events) {
  if (link->state == LINK_DIALLING) { dialled(links, link); return; }
  if (events & (POLLIN | POLLERR | POLLHUP)) read_link(links, link);
  if (link->fd >= 0 && (events & POLLOUT)) write_link(link);
}

void links_serve(struct links *links, const struct pollfd *set, int count) {
  for (int k = 1; k < count; k++)
    for (int i = 0; set[k].revents && i < links->count; i++)
      if (links->all[i].fd == set[k].fd) { serve_link(links, &links->all[i], set[k].revents); break; }
  if (set[0].revents) accept_link(links);
  for (int i = 0; i < links->count; i++) {
    struct link *link = &links->all[i];
    uint64_t age_ms = (now_ns() - link->since_ns) / 1000000;
    if (link->state == LINK_DOWN && i < links->dial_below && age_ms >= RETRY_MS) dial(links, link);
    else if ((link->state == LINK_DIALLING || link->state == LINK_GREETING) && age_ms >= GREETING_MS) hang_up(link);
  }
}

uint64_t pace_due(struct pace *pace) {
  uint64_t now = now_ns(), elapsed = pace->before_ns ? now - pace->before_ns : 0;
  pace->before_ns = now;
  pace->rest += (elapsed > 1000000000u ? 1000000000u : elapsed) * pace->per_s;
  uint64_t due = pace->rest / 1000000000u;
  pace->rest %= 1000000000u;
  return due;
}
