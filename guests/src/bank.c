/*
 * bank: accounts in every guest, and money that moves between all guests of the cluster without end, over one lasting TCP connection per
 * pair. Every move carries its number and the sum of all moves before it on that way, so a lost, doubled or reordered move shows at once.
 * The total of all balances and of what is on the way never changes; a connection that breaks is made again and continues (counted).
 *
 *   bank PORT CONTROL_PORT OWN_ADDRESS ADDRESSES(comma, own too) MOVES_PER_S SEED
 *   status | audit -> {"daemon":"bank","address","moves","received","errors","error","reconnects","connected","peers","held","initial",
 *                      "balance","links":[{"peer","up","sent","sent_sum","received","received_sum"}]}
 *   hold MS: no new moves for so long (then sums settle and an outside client can compare both ends); go: end it.
 */
#define _GNU_SOURCE
#include "control.h"
#include "links.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { ACCOUNTS = 64, OPENING = 1000, LARGEST_MOVE = 100, RING = 4096 };
enum { MAGIC = 0x6b6e6142, HELLO = 1, MOVE = 2 };

/* On the wire; both ends are the same architecture. */
struct message { uint32_t magic, kind; uint64_t number, sum; uint32_t account, amount; uint64_t check; };

struct peer {
  uint64_t boot, sent, sent_sum, received, received_sum;
  struct { uint64_t sum; uint32_t account, amount; } ring[RING]; /* moves that a new connection may have to repeat */
};

static struct links links;
static struct peer peers[LINKS]; /* in the order of the links */
static uint64_t balances[ACCOUNTS], boot, moves, received, errors, reconnects, held_until_ns, random_state;
static char error_text[160];

static void error(const char *text, int place) {
  char address[INET_ADDRSTRLEN] = "-";
  if (place >= 0) inet_ntop(AF_INET, &links.all[place].address, address, sizeof address);
  if (!errors++) snprintf(error_text, sizeof error_text, "%s (%s)", text, address);
  fprintf(stderr, "virtcft guest: bank: %s (%s)\n", text, address);
}

static uint64_t checksum(const struct message *m) {
  uint64_t state = m->number ^ (m->sum << 1) ^ ((uint64_t)m->account << 32) ^ m->amount ^ ((uint64_t)m->kind << 56) ^ 1;
  return random_next(&state);
}

static void send_message(int place, struct message m) {
  m.magic = MAGIC;
  m.check = checksum(&m);
  link_put(&links.all[place], &m, sizeof m);
}

static void send_move(int place, uint64_t number) {
  const struct peer *peer = &peers[place];
  size_t slot = number % RING;
  send_message(place, (struct message){ .kind = MOVE, .number = number, .sum = peer->ring[slot].sum, .account = peer->ring[slot].account, .amount = peer->ring[slot].amount });
}

static void greet(int place) { send_message(place, (struct message){ .kind = HELLO, .number = peers[place].received, .sum = boot }); }

/* The greeting says how far the other end came; what it misses is repeated. */
static void greeted(int place, const struct message *m) {
  struct peer *peer = &peers[place];
  if (peer->boot && peer->boot != m->sum) error("peer has started anew", place);
  uint64_t heard = m->number;
  if (heard > peer->sent || peer->sent - heard > RING / 4) { error("peer misses more than can be repeated", place); heard = peer->sent; }
  peer->boot = m->sum;
  reconnects += (uint64_t)link_stands(&links.all[place]);
  for (uint64_t number = heard + 1; number <= peer->sent; number++) send_move(place, number);
}

static void credit(int place, const struct message *m) {
  struct peer *peer = &peers[place];
  if (m->number != peer->received + 1) error(m->number <= peer->received ? "a move came twice" : "a move was lost", place);
  if (m->sum != peer->received_sum + m->amount) error("the sum of all moves differs", place);
  peer->received = m->number;
  peer->received_sum += m->amount;
  balances[m->account % ACCOUNTS] += m->amount;
  received++;
}

static int take(int place, const uint8_t *bytes, size_t length) {
  struct message m;
  if (length < sizeof m) return 0;
  memcpy(&m, bytes, sizeof m);
  enum link_state state = links.all[place].state;
  if (m.magic != MAGIC || m.check != checksum(&m)) { error("a message is corrupt", place); return -1; }
  if (m.kind == HELLO && state == LINK_GREETING) greeted(place, &m);
  else if (m.kind == MOVE && state == LINK_UP) credit(place, &m);
  else { error("a message came out of place", place); return -1; }
  return sizeof m;
}

static void move_money(void) {
  int place = (int)(random_next(&random_state) % (uint64_t)links.count);
  struct peer *peer = &peers[place];
  uint64_t *from = &balances[random_next(&random_state) % ACCOUNTS], amount = 1 + random_next(&random_state) % LARGEST_MOVE;
  if (amount > *from) amount = *from;
  if (!amount || links.all[place].state != LINK_UP || link_full(&links.all[place])) return;
  *from -= amount;
  uint64_t number = ++peer->sent;
  peer->sent_sum += amount;
  peer->ring[number % RING].sum = peer->sent_sum;
  peer->ring[number % RING].amount = (uint32_t)amount;
  peer->ring[number % RING].account = (uint32_t)(random_next(&random_state) % ACCOUNTS);
  send_move(place, number);
  moves++;
}

static uint64_t balance(void) {
  uint64_t total = 0, expected = ACCOUNTS * OPENING;
  for (int i = 0; i < ACCOUNTS; i++) total += balances[i];
  for (int i = 0; i < links.count; i++) expected += peers[i].received_sum - peers[i].sent_sum;
  if (total != expected) error("the balances do not match the moves", -1);
  return total;
}

static void report(char *reply, size_t room) {
  char address[INET_ADDRSTRLEN];
  uint64_t total = balance();
  inet_ntop(AF_INET, &links.own, address, sizeof address);
  size_t at = (size_t)snprintf(reply, room,
    "{\"daemon\":\"bank\",\"address\":\"%s\",\"moves\":%llu,\"received\":%llu,\"errors\":%llu,\"error\":\"%s\",\"reconnects\":%llu,"
    "\"connected\":%d,\"peers\":%d,\"held\":%s,\"initial\":%d,\"balance\":%llu,\"links\":[",
    address, (unsigned long long)moves, (unsigned long long)received, (unsigned long long)errors, error_text, (unsigned long long)reconnects,
    links_up(&links), links.count, now_ns() < held_until_ns ? "true" : "false", ACCOUNTS * OPENING, (unsigned long long)total);
  for (int i = 0; i < links.count && at < room; i++) {
    inet_ntop(AF_INET, &links.all[i].address, address, sizeof address);
    at += (size_t)snprintf(reply + at, room - at, "%s{\"peer\":\"%s\",\"up\":%s,\"sent\":%llu,\"sent_sum\":%llu,\"received\":%llu,\"received_sum\":%llu}",
      i ? "," : "", address, links.all[i].state == LINK_UP ? "true" : "false", (unsigned long long)peers[i].sent, (unsigned long long)peers[i].sent_sum,
      (unsigned long long)peers[i].received, (unsigned long long)peers[i].received_sum);
  }
  if (at < room) snprintf(reply + at, room - at, "]}");
}

static void answer(const char *command, char *reply, size_t room) {
  if (!strncmp(command, "hold ", 5)) held_until_ns = now_ns() + strtoull(command + 5, NULL, 10) * 1000000;
  else if (!strcmp(command, "go")) held_until_ns = 0;
  else if (strcmp(command, "status") && strcmp(command, "audit")) {
    snprintf(reply, room, "{\"daemon\":\"bank\",\"refused\":\"commands: status, audit, hold MS, go\"}");
    return;
  }
  report(reply, room);
}

static void run(uint16_t control_port, struct pace moves_due) {
  static struct control control;
  static struct pollfd set[1 + CONTROL_CLIENTS + 1 + LINKS];
  control_open(&control, control_port);
  links_open(&links);
  for (;;) {
    int controls = control_watch(&control, set), watched = links_watch(&links, set + controls);
    if (poll(set, (nfds_t)(controls + watched), LINK_TICK_MS) < 0 && errno != EINTR) die("poll");
    links_serve(&links, set + controls, watched);
    control_serve(&control, set, controls, answer);
    for (uint64_t due = pace_due(&moves_due); due; due--)
      if (links.count && now_ns() >= held_until_ns) move_money();
  }
}

int main(int count, char **arguments) {
  if (count != 7 || inet_pton(AF_INET, arguments[3], &links.own) != 1) {
    fprintf(stderr, "usage: bank PORT CONTROL_PORT OWN_ADDRESS ADDRESSES MOVES_PER_S SEED\n");
    return 2;
  }
  links.port = (uint16_t)atoi(arguments[1]);
  links.greet = greet;
  links.take = take;
  links_know(&links, arguments[4], LINKS);
  if (getrandom(&boot, sizeof boot, 0) != sizeof boot) die("getrandom");
  boot |= 1;
  random_state = strtoull(arguments[6], NULL, 10) * 0x9e3779b97f4a7c15ULL + ntohl(links.own.s_addr) + 1;
  for (int i = 0; i < ACCOUNTS; i++) balances[i] = OPENING;
  run((uint16_t)atoi(arguments[2]), (struct pace){ .per_s = strtoull(arguments[5], NULL, 10) });
}
