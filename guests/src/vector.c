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
#include "links.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

/* PEERS: the vector must fit one datagram. RING: marks of messages kept to compare with; minutes at the usual rates. */
enum { PEERS = 24, RING = 16384 };
enum { MAGIC = 0x72746356, HELLO = 1, MESSAGE = 2 };
enum { STREAM, DATAGRAM, WAYS };

/* On the wire; both ends are the same architecture. */
struct entry { uint32_t address, unused; uint64_t number[WAYS], mark[WAYS]; };
struct message { uint32_t magic, kind, way, entries; uint64_t boot, number, mark, check; struct entry received[PEERS]; };

struct peer {
  uint64_t boot, missed;
  uint64_t sent[WAYS], marks[WAYS][RING];           /* ours to it */
  uint64_t received[WAYS], received_mark[WAYS], got; /* its to us; got: datagrams in all */
  uint64_t told[WAYS][PEERS];                       /* the highest receive vector it told, by our own order of peers, for each way it came */
};

static struct links links;
static struct peer peers[PEERS]; /* in the order of the links */
static int datagrams;
static uint64_t boot, errors, orphans, reconnects, checked, random_state;
static char error_text[200];

static void error(int place, const char *text, uint64_t seen, uint64_t expected) {
  char address[INET_ADDRSTRLEN], line[160];
  inet_ntop(AF_INET, &links.all[place].address, address, sizeof address);
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
  *m = (struct message){ .magic = MAGIC, .kind = kind, .way = way, .entries = (uint32_t)links.count, .boot = boot, .number = number, .mark = mark };
  for (int i = 0; i < links.count; i++) {
    m->received[i].address = links.all[i].address.s_addr;
    for (int w = 0; w < WAYS; w++) { m->received[i].number[w] = peers[i].received[w]; m->received[i].mark[w] = peers[i].received_mark[w]; }
  }
  m->check = checksum(m);
}

static void greet(int place) {
  struct message m;
  compose(&m, HELLO, STREAM, peers[place].received[STREAM], peers[place].boot);
  link_put(&links.all[place], &m, length_of(m.entries));
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
static void greeted(int place, const struct message *m) {
  struct peer *peer = &peers[place];
  uint64_t heard = m->mark == boot ? m->number : 0;
  if (peer->boot != m->boot) begin_anew(peer, m->boot);
  else if (heard > peer->sent[STREAM]) { orphans++; error(place, "has received more than was sent", heard, peer->sent[STREAM]); }
  peer->sent[STREAM] = heard;
  reconnects += (uint64_t)link_stands(&links.all[place]);
}

/* What the peer says it has received: of us never more, nor other, than we sent; of everybody never less than it said before. */
static void judge_vector(int teller, const struct message *m) {
  struct peer *peer = &peers[teller];
  for (uint32_t i = 0; i < m->entries; i++) {
    const struct entry *entry = &m->received[i];
    if (entry->address == links.own.s_addr) {
      for (int way = 0; way < WAYS; way++) {
        uint64_t number = entry->number[way], sent = peer->sent[way];
        checked++;
        if (number > sent) { orphans++; error(teller, way == STREAM ? "has received more than was sent" : "has received more datagrams than were sent", number, sent); }
        else if (number && sent - number < RING && peer->marks[way][number % RING] != entry->mark[way]) { orphans++; error(teller, "has received a message that was never sent", number, sent); }
      }
      continue;
    }
    int place = links_place(&links, (struct in_addr){ entry->address });
    if (place < 0) continue;
    uint64_t *told = &peer->told[m->way][place];
    checked++;
    /* The peer of our peer may have booted anew: then its numbers begin again, and so does what is told of them. */
    if (entry->number[STREAM] < *told && links.all[place].established < 2) error(teller, "has forgotten what it had received", entry->number[STREAM], *told);
    *told = entry->number[STREAM];
  }
}

static void hear(int place, const struct message *m) {
  struct peer *peer = &peers[place];
  uint64_t *last = &peer->received[m->way];
  if (m->way == STREAM) {
    checked++;
    if (m->number != *last + 1) error(place, m->number <= *last ? "a message came twice" : "a message was lost", m->number, *last);
  } else {
    peer->got++;
    if (m->number <= *last) return; /* again, or overtaken: says nothing new */
    peer->missed += m->number - *last - 1;
  }
  *last = m->number;
  peer->received_mark[m->way] = m->mark;
  judge_vector(place, m);
}

static int sound(const struct message *m, size_t length) {
  return length >= length_of(0) && m->magic == MAGIC && m->entries <= PEERS && m->way < WAYS && length >= length_of(m->entries) && m->check == checksum(m);
}

static int take(int place, const uint8_t *bytes, size_t length) {
  struct message m;
  if (length < length_of(0)) return 0;
  memcpy(&m, bytes, length < sizeof m ? length : sizeof m);
  if (m.magic == MAGIC && m.entries <= PEERS && length < length_of(m.entries)) return 0;
  enum link_state state = links.all[place].state;
  if (!sound(&m, length)) { error(place, "a message is corrupt", m.number, peers[place].received[STREAM]); return -1; }
  if (m.kind == HELLO && state == LINK_GREETING) greeted(place, &m);
  else if (m.kind == MESSAGE && state == LINK_UP) hear(place, &m);
  else { error(place, "a message came out of place", m.number, peers[place].received[STREAM]); return -1; }
  return (int)length_of(m.entries);
}

static void read_datagrams(void) {
  struct message m;
  struct sockaddr_in from;
  socklen_t length = sizeof from;
  for (ssize_t got; (got = recvfrom(datagrams, &m, sizeof m, 0, (struct sockaddr *)&from, &length)) >= 0; length = sizeof from) {
    int place = links_place(&links, from.sin_addr);
    /* Of an earlier or later boot than the connection's: says nothing that could be compared. */
    if (place < 0 || peers[place].boot != m.boot || m.kind != MESSAGE || m.way != DATAGRAM) continue;
    if (!sound(&m, (size_t)got)) { error(place, "a datagram is corrupt", m.number, peers[place].received[DATAGRAM]); continue; }
    hear(place, &m);
  }
}

/* One message to each, on both ways. */
static void speak(void) {
  for (int i = 0; i < links.count; i++) {
    struct peer *peer = &peers[i];
    if (links.all[i].state != LINK_UP || link_full(&links.all[i])) continue;
    for (uint32_t way = 0; way < WAYS; way++) {
      struct message m;
      uint64_t number = ++peer->sent[way], mark = random_next(&random_state) ^ now_ns();
      peer->marks[way][number % RING] = mark;
      compose(&m, MESSAGE, way, number, mark);
      if (way == STREAM) { link_put(&links.all[i], &m, length_of(m.entries)); continue; }
      struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(links.port), .sin_addr = links.all[i].address };
      /* A datagram that cannot leave now is one that is lost. */
      sendto(datagrams, &m, length_of(m.entries), 0, (struct sockaddr *)&to, sizeof to);
    }
  }
}

static void answer(const char *command, char *reply, size_t room) {
  char address[INET_ADDRSTRLEN];
  if (strcmp(command, "status")) { snprintf(reply, room, "{\"daemon\":\"vector\",\"refused\":\"commands: status\"}"); return; }
  inet_ntop(AF_INET, &links.own, address, sizeof address);
  size_t at = (size_t)snprintf(reply, room, "{\"daemon\":\"vector\",\"address\":\"%s\",\"errors\":%llu,\"error\":\"%s\",\"orphans\":%llu,\"reconnects\":%llu,\"connected\":%d,\"peers\":%d,\"checked\":%llu,\"links\":[",
    address, (unsigned long long)errors, error_text, (unsigned long long)orphans, (unsigned long long)reconnects, links_up(&links), links.count, (unsigned long long)checked);
  for (int i = 0; i < links.count && at < room; i++) {
    const struct peer *peer = &peers[i];
    inet_ntop(AF_INET, &links.all[i].address, address, sizeof address);
    at += (size_t)snprintf(reply + at, room - at, "%s{\"peer\":\"%s\",\"up\":%s,\"sent\":%llu,\"received\":%llu,\"datagrams_sent\":%llu,\"datagrams_received\":%llu,\"datagrams_missed\":%llu}",
      i ? "," : "", address, links.all[i].state == LINK_UP ? "true" : "false", (unsigned long long)peer->sent[STREAM], (unsigned long long)peer->received[STREAM],
      (unsigned long long)peer->sent[DATAGRAM], (unsigned long long)peer->got, (unsigned long long)peer->missed);
  }
  if (at < room) snprintf(reply + at, room - at, "]}");
}

static void open_datagrams(void) {
  struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(links.port) };
  datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (datagrams < 0 || bind(datagrams, (struct sockaddr *)&any, sizeof any) < 0) die("socket for datagrams");
}

static void run(uint16_t control_port, uint16_t history_port, struct pace rounds) {
  static struct control control, history;
  static struct pollfd set[2 * (1 + CONTROL_CLIENTS) + 2 + LINKS];
  control_open(&control, control_port);
  control_open(&history, history_port);
  links_open(&links);
  open_datagrams();
  for (;;) {
    int controls = control_watch(&control, set), histories = control_watch(&history, set + controls), ours = controls + histories;
    int watched = links_watch(&links, set + ours + 1);
    set[ours] = (struct pollfd){ .fd = datagrams, .events = POLLIN };
    if (poll(set, (nfds_t)(ours + 1 + watched), LINK_TICK_MS) < 0 && errno != EINTR) die("poll");
    links_serve(&links, set + ours + 1, watched);
    if (set[ours].revents) read_datagrams();
    control_serve(&control, set, controls, answer);
    control_serve(&history, set + controls, histories, history_answer);
    for (uint64_t due = pace_due(&rounds); due; due--) speak();
  }
}

int main(int count, char **arguments) {
  if (count != 8 || inet_pton(AF_INET, arguments[4], &links.own) != 1) {
    fprintf(stderr, "usage: vector PORT CONTROL_PORT HISTORY_PORT OWN_ADDRESS ADDRESSES MESSAGES_PER_S SEED\n");
    return 2;
  }
  links.port = (uint16_t)atoi(arguments[1]);
  links.greet = greet;
  links.take = take;
  links_know(&links, arguments[5], PEERS);
  if (getrandom(&boot, sizeof boot, 0) != sizeof boot) die("getrandom");
  boot |= 1;
  random_state = boot ^ strtoull(arguments[7], NULL, 10);
  if (!random_state) random_state = 1;
  run((uint16_t)atoi(arguments[2]), (uint16_t)atoi(arguments[3]), (struct pace){ .per_s = strtoull(arguments[6], NULL, 10) });
}
