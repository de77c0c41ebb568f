/*
 * vector: messages between all guests, over one lasting TCP connection per pair and as datagrams, each with what its sender has received from
 * everybody. A cut that is not consistent shows at once:
 *   - TCP: a number that repeats, falls back or leaves a gap;
 *   - an orphan: somebody has received from us a message that we, rolled back, never sent. Every message has a random mark, so that one of
 *     the same number sent anew is not taken for it;
 *   - a sender whose receive vector falls back behind what it said earlier.
 * Datagrams may be lost, and one that was in flight at a cut may come twice: those are counted, and are no errors.
 * The outside's history (history.h) has a port of its own in the same process.
 *
 *   vector PORT CONTROL_PORT HISTORY_PORT OWN_ADDRESS ADDRESSES(comma, own too) MESSAGES_PER_S SEED
 *   status -> {"daemon":"vector","address","errors","error","orphans","reconnects","connected","peers","checked",
 *              "links":[{"peer","up","sent","received","datagrams_sent","datagrams_received","datagrams_missed"}]}
 */
#define _GNU_SOURCE
#include "control.h"
#include "history.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* PEERS: the vector must fit one datagram. RING: marks of messages kept to compare with; minutes at the usual rates. */
enum { PEERS = 24, RING = 16384, BUFFER = 65536, TICK_MS = 20, RETRY_MS = 500, GREETING_MS = 5000 };
enum { MAGIC = 0x72746356, HELLO = 1, MESSAGE = 2 };
enum { STREAM, DATAGRAM, WAYS };
enum link_state { DOWN, DIALLING, GREETING, UP };

/* On the wire; both ends are the same architecture. */
struct entry { uint32_t address, unused; uint64_t number[WAYS], mark[WAYS]; };
struct message { uint32_t magic, kind, way, entries; uint64_t boot, number, mark, check; struct entry received[PEERS]; };

struct peer {
  struct in_addr address;
  int fd;
  enum link_state state;
  uint64_t since_ns, boot, established, missed;
  uint64_t sent[WAYS], marks[WAYS][RING];           /* ours to it */
  uint64_t received[WAYS], received_mark[WAYS], got; /* its to us; got: datagrams in all */
  uint64_t told[WAYS][PEERS];                       /* the highest receive vector it told, by our own order of peers, for each way it came */
  size_t in_used, out_used;
  uint8_t in[BUFFER], out[BUFFER];
};

static struct peer *peers;
static int peer_count, dial_below, listener, datagrams;
static uint16_t port;
static struct in_addr own;
static uint64_t boot, errors, orphans, reconnects, checked, random_state;
static char error_text[200];

static void error(const struct peer *peer, const char *text, uint64_t seen, uint64_t expected) {
  char address[INET_ADDRSTRLEN], line[160];
  inet_ntop(AF_INET, &peer->address, address, sizeof address);
  snprintf(line, sizeof line, "%s: %s (%llu, here %llu)", address, text, (unsigned long long)seen, (unsigned long long)expected);
  if (!errors++) memcpy(error_text, line, sizeof line);
  fprintf(stderr, "virtcft guest: vector: %s\n", line);
}

static size_t length_of(uint32_t entries) { return offsetof(struct message, received) + entries * sizeof(struct entry); }

static uint64_t checksum(const struct message *m) {
  uint64_t state = ((uint64_t)m->kind << 40) ^ ((uint64_t)m->way << 32) ^ m->boot ^ (m->number << 1) ^ m->mark ^ 1;
  for (uint32_t i = 0; i < m->entries; i++)
    for (int way = 0; way < WAYS; way++) state = random_next(&state) ^ m->received[i].address ^ (m->received[i].number[way] << 7) ^ m->received[i].mark[way];
  return random_next(&state);
}

static void compose(struct message *m, uint32_t kind, uint32_t way, uint64_t number, uint64_t mark) {
  *m = (struct message){ .magic = MAGIC, .kind = kind, .way = way, .entries = (uint32_t)peer_count, .boot = boot, .number = number, .mark = mark };
  for (int i = 0; i < peer_count; i++) {
    m->received[i].address = peers[i].address.s_addr;
    for (int w = 0; w < WAYS; w++) { m->received[i].number[w] = peers[i].received[w]; m->received[i].mark[w] = peers[i].received_mark[w]; }
  }
  m->check = checksum(m);
}

static void hang_up(struct peer *peer) {
  if (peer->fd >= 0) close(peer->fd);
  peer->fd = -1;
  peer->state = DOWN;
  peer->since_ns = now_ns();
}

static void put(struct peer *peer, const struct message *m) {
  memcpy(peer->out + peer->out_used, m, length_of(m->entries));
  peer->out_used += length_of(m->entries);
}

static void greet(struct peer *peer) {
  struct message m;
  int on = 1;
  setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  peer->state = GREETING;
  peer->since_ns = now_ns();
  peer->in_used = peer->out_used = 0;
  compose(&m, HELLO, STREAM, peer->received[STREAM], peer->boot);
  put(peer, &m);
}

/* Another boot of the peer knows nothing of us; what it sends begins at 1. */
static void begin_anew(struct peer *peer, uint64_t its_boot) {
  peer->boot = its_boot;
  memset(peer->received, 0, sizeof peer->received);
  memset(peer->received_mark, 0, sizeof peer->received_mark);
  memset(peer->told, 0, sizeof peer->told);
  memset(peer->sent, 0, sizeof peer->sent);
}

/*
 * On a connection made again what was on the way is given up, at both ends alike: numbers go on from what the other end has received. Its
 * greeting's mark is our boot as it knew it: what it received of an earlier boot is not ours.
 */
static void greeted(struct peer *peer, const struct message *m) {
  uint64_t heard = m->mark == boot ? m->number : 0;
  if (peer->boot != m->boot) begin_anew(peer, m->boot);
  else if (heard > peer->sent[STREAM]) { orphans++; error(peer, "has received more than was sent", heard, peer->sent[STREAM]); }
  peer->sent[STREAM] = heard;
  if (peer->established++) reconnects++;
  peer->state = UP;
}

static int place_of(uint32_t address) {
  for (int i = 0; i < peer_count; i++) if (peers[i].address.s_addr == address) return i;
  return -1;
}

/* What the peer says it has received: of us never more, nor other, than we sent; of everybody never less than it said before. */
static void judge_vector(struct peer *peer, const struct message *m) {
  for (uint32_t i = 0; i < m->entries; i++) {
    const struct entry *entry = &m->received[i];
    if (entry->address == own.s_addr) {
      for (int way = 0; way < WAYS; way++) {
        uint64_t number = entry->number[way], sent = peer->sent[way];
        checked++;
        if (number > sent) { orphans++; error(peer, way == STREAM ? "has received more than was sent" : "has received more datagrams than were sent", number, sent); }
        else if (number && sent - number < RING && peer->marks[way][number % RING] != entry->mark[way]) { orphans++; error(peer, "has received a message that was never sent", number, sent); }
      }
      continue;
    }
    int place = place_of(entry->address);
    if (place < 0) continue;
    uint64_t *told = &peer->told[m->way][place];
    checked++;
    /* The peer of our peer may have booted anew: then its numbers begin again, and so does what is told of them. */
    if (entry->number[STREAM] < *told && peers[place].established < 2) error(peer, "has forgotten what it had received", entry->number[STREAM], *told);
    *told = entry->number[STREAM];
  }
}

static void take(struct peer *peer, const struct message *m) {
  uint64_t *last = &peer->received[m->way];
  if (m->way == STREAM) {
    checked++;
    if (m->number != *last + 1) error(peer, m->number <= *last ? "a message came twice" : "a message was lost", m->number, *last);
  } else {
    peer->got++;
    if (m->number <= *last) return; /* again, or overtaken: says nothing new */
    peer->missed += m->number - *last - 1;
  }
  *last = m->number;
  peer->received_mark[m->way] = m->mark;
  judge_vector(peer, m);
}

static int sound(const struct message *m, size_t length) {
  return length >= length_of(0) && m->magic == MAGIC && m->entries <= PEERS && m->way < WAYS && length >= length_of(m->entries) && m->check == checksum(m);
}

static void read_peer(struct peer *peer) {
  ssize_t got = read(peer->fd, peer->in + peer->in_used, BUFFER - peer->in_used);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) { hang_up(peer); return; }
  peer->in_used += (size_t)got;
  size_t at = 0;
  for (;;) {
    struct message m;
    size_t left = peer->in_used - at;
    if (left < length_of(0)) break;
    memcpy(&m, peer->in + at, left < sizeof m ? left : sizeof m);
    if (m.magic == MAGIC && m.entries <= PEERS && left < length_of(m.entries)) break;
    if (!sound(&m, left)) { error(peer, "a message is corrupt", m.number, peer->received[STREAM]); hang_up(peer); return; }
    if (m.kind == HELLO && peer->state == GREETING) greeted(peer, &m);
    else if (m.kind == MESSAGE && peer->state == UP) take(peer, &m);
    else { error(peer, "a message came out of place", m.number, peer->received[STREAM]); hang_up(peer); return; }
    at += length_of(m.entries);
  }
  memmove(peer->in, peer->in + at, peer->in_used -= at);
}

static void write_peer(struct peer *peer) {
  ssize_t sent = send(peer->fd, peer->out, peer->out_used, MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (sent < 0) { hang_up(peer); return; }
  memmove(peer->out, peer->out + sent, peer->out_used -= (size_t)sent);
}

static void read_datagrams(void) {
  struct message m;
  struct sockaddr_in from;
  socklen_t length = sizeof from;
  for (ssize_t got; (got = recvfrom(datagrams, &m, sizeof m, 0, (struct sockaddr *)&from, &length)) >= 0; length = sizeof from) {
    int place = place_of(from.sin_addr.s_addr);
    /* Of an earlier or later boot than the connection's: says nothing that could be compared. */
    if (place < 0 || peers[place].boot != m.boot || m.kind != MESSAGE || m.way != DATAGRAM) continue;
    if (!sound(&m, (size_t)got)) { error(&peers[place], "a datagram is corrupt", m.number, peers[place].received[DATAGRAM]); continue; }
    take(&peers[place], &m);
  }
}

static void dialled(struct peer *peer) {
  int failed = 0;
  socklen_t length = sizeof failed;
  getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &failed, &length);
  if (failed) hang_up(peer); else greet(peer);
}

static void dial(struct peer *peer) {
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = peer->address };
  peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (peer->fd < 0) die("socket");
  peer->state = DIALLING;
  peer->since_ns = now_ns();
  if (connect(peer->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) hang_up(peer);
}

static void accept_peer(void) {
  struct sockaddr_in from;
  socklen_t length = sizeof from;
  int fd = accept4(listener, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  int place = place_of(from.sin_addr.s_addr);
  if (place < dial_below) { close(fd); return; }
  hang_up(&peers[place]);
  peers[place].fd = fd;
  greet(&peers[place]);
}

static void keep_links(uint64_t now) {
  for (int i = 0; i < peer_count; i++) {
    uint64_t age_ms = (now - peers[i].since_ns) / 1000000;
    if (peers[i].state == DOWN && i < dial_below && age_ms >= RETRY_MS) dial(&peers[i]);
    else if ((peers[i].state == DIALLING || peers[i].state == GREETING) && age_ms >= GREETING_MS) hang_up(&peers[i]);
  }
}

/* One message to each, on both ways. */
static void speak(void) {
  for (int i = 0; i < peer_count; i++) {
    struct peer *peer = &peers[i];
    if (peer->state != UP || peer->out_used > BUFFER / 4) continue;
    for (uint32_t way = 0; way < WAYS; way++) {
      struct message m;
      uint64_t number = ++peer->sent[way], mark = random_next(&random_state) ^ now_ns();
      peer->marks[way][number % RING] = mark;
      compose(&m, MESSAGE, way, number, mark);
      if (way == STREAM) { put(peer, &m); continue; }
      struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = peer->address };
      /* A datagram that cannot leave now is one that is lost. */
      sendto(datagrams, &m, length_of(m.entries), 0, (struct sockaddr *)&to, sizeof to);
    }
  }
}

static void answer(const char *command, char *reply, size_t room) {
  char address[INET_ADDRSTRLEN];
  int connected = 0;
  if (strcmp(command, "status")) { snprintf(reply, room, "{\"daemon\":\"vector\",\"refused\":\"commands: status\"}"); return; }
  for (int i = 0; i < peer_count; i++) connected += peers[i].state == UP;
  inet_ntop(AF_INET, &own, address, sizeof address);
  size_t at = (size_t)snprintf(reply, room, "{\"daemon\":\"vector\",\"address\":\"%s\",\"errors\":%llu,\"error\":\"%s\",\"orphans\":%llu,\"reconnects\":%llu,\"connected\":%d,\"peers\":%d,\"checked\":%llu,\"links\":[",
    address, (unsigned long long)errors, error_text, (unsigned long long)orphans, (unsigned long long)reconnects, connected, peer_count, (unsigned long long)checked);
  for (int i = 0; i < peer_count && at < room; i++) {
    const struct peer *peer = &peers[i];
    inet_ntop(AF_INET, &peer->address, address, sizeof address);
    at += (size_t)snprintf(reply + at, room - at, "%s{\"peer\":\"%s\",\"up\":%s,\"sent\":%llu,\"received\":%llu,\"datagrams_sent\":%llu,\"datagrams_received\":%llu,\"datagrams_missed\":%llu}",
      i ? "," : "", address, peer->state == UP ? "true" : "false", (unsigned long long)peer->sent[STREAM], (unsigned long long)peer->received[STREAM],
      (unsigned long long)peer->sent[DATAGRAM], (unsigned long long)peer->got, (unsigned long long)peer->missed);
  }
  if (at < room) snprintf(reply + at, room - at, "]}");
}

static void open_datagrams(void) {
  struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
  datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (datagrams < 0 || bind(datagrams, (struct sockaddr *)&any, sizeof any) < 0) die("socket for datagrams");
}

static void run(uint16_t control_port, uint16_t history_port, uint64_t messages_per_s) {
  static struct control control, history;
  static struct pollfd set[2 * (1 + CONTROL_CLIENTS) + 2 + PEERS];
  uint64_t before = now_ns(), due = 0;
  control_open(&control, control_port);
  control_open(&history, history_port);
  listener = listen_on(port);
  open_datagrams();
  for (;;) {
    int controls = control_watch(&control, set), histories = control_watch(&history, set + controls), ours = controls + histories, count = ours, watched[PEERS];
    set[count++] = (struct pollfd){ .fd = listener, .events = POLLIN };
    set[count++] = (struct pollfd){ .fd = datagrams, .events = POLLIN };
    for (int i = 0; i < peer_count; i++) {
      watched[i] = -1;
      if (peers[i].fd < 0) continue;
      short events = peers[i].state == DIALLING ? POLLOUT : (short)(POLLIN | (peers[i].out_used ? POLLOUT : 0));
      set[watched[i] = count++] = (struct pollfd){ .fd = peers[i].fd, .events = events };
    }
    if (poll(set, (nfds_t)count, TICK_MS) < 0 && errno != EINTR) die("poll");
    for (int i = 0; i < peer_count; i++) {
      short events = watched[i] < 0 ? 0 : set[watched[i]].revents;
      if (!events) continue;
      if (peers[i].state == DIALLING) { dialled(&peers[i]); continue; }
      if (events & (POLLIN | POLLERR | POLLHUP)) read_peer(&peers[i]);
      if (peers[i].fd >= 0 && (events & POLLOUT)) write_peer(&peers[i]);
    }
    if (set[ours].revents) accept_peer();
    if (set[ours + 1].revents) read_datagrams();
    control_serve(&control, set, controls, answer);
    control_serve(&history, set + controls, histories, history_answer);
    uint64_t now = now_ns(), elapsed = now - before;
    before = now;
    keep_links(now);
    /* A long stop is not made up for: at most one second's worth. */
    due += (elapsed > 1000000000u ? 1000000000u : elapsed) * messages_per_s;
    for (; due >= 1000000000u; due -= 1000000000u) speak();
  }
}

static void know_peers(char *list) {
  peers = calloc(PEERS, sizeof *peers);
  if (!peers) die("memory for the peers");
  for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
    struct in_addr address;
    if (inet_pton(AF_INET, word, &address) != 1 || peer_count == PEERS) { fprintf(stderr, "vector: bad address or too many: %s\n", word); exit(2); }
    if (address.s_addr == own.s_addr) { dial_below = peer_count; continue; }
    peers[peer_count].address = address;
    peers[peer_count++].fd = -1;
  }
}

int main(int count, char **arguments) {
  if (count != 8 || inet_pton(AF_INET, arguments[4], &own) != 1) {
    fprintf(stderr, "usage: vector PORT CONTROL_PORT HISTORY_PORT OWN_ADDRESS ADDRESSES MESSAGES_PER_S SEED\n");
    return 2;
  }
  port = (uint16_t)atoi(arguments[1]);
  know_peers(arguments[5]);
  if (getrandom(&boot, sizeof boot, 0) != sizeof boot) die("getrandom");
  boot |= 1;
  random_state = boot ^ strtoull(arguments[7], NULL, 10);
  if (!random_state) random_state = 1;
  run((uint16_t)atoi(arguments[2]), (uint16_t)atoi(arguments[3]), strtoull(arguments[6], NULL, 10));
}
