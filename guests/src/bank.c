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

enum { PEERS = 64, ACCOUNTS = 64, OPENING = 1000, LARGEST_MOVE = 100, RING = 4096, BUFFER = 65536, TICK_MS = 20, RETRY_MS = 500, GREETING_MS = 5000 };
enum { MAGIC = 0x6b6e6142, HELLO = 1, MOVE = 2 };

/* On the wire; both ends are the same architecture. */
struct message { uint32_t magic, kind; uint64_t number, sum; uint32_t account, amount; uint64_t check; };
enum link_state { DOWN, DIALLING, GREETING, UP };

struct peer {
  struct in_addr address;
  int fd;
  enum link_state state;
  uint64_t since_ns, boot, sent, sent_sum, received, received_sum, established;
  size_t in_used, out_used;
  struct { uint64_t sum; uint32_t account, amount; } ring[RING]; /* moves that a new connection may have to repeat */
  uint8_t in[BUFFER], out[BUFFER];
};

static struct peer *peers;
static int peer_count, dial_below, listener;
static uint16_t port;
static struct in_addr own;
static uint64_t balances[ACCOUNTS], boot, moves, received, errors, reconnects, held_until_ns, random_state;
static char error_text[160];

static void error(const char *text, const struct peer *peer) {
  char address[INET_ADDRSTRLEN] = "-";
  if (peer) inet_ntop(AF_INET, &peer->address, address, sizeof address);
  if (!errors++) snprintf(error_text, sizeof error_text, "%s (%s)", text, address);
  fprintf(stderr, "virtcft guest: bank: %s (%s)\n", text, address);
}

static uint64_t checksum(const struct message *m) {
  uint64_t state = m->number ^ (m->sum << 1) ^ ((uint64_t)m->account << 32) ^ m->amount ^ ((uint64_t)m->kind << 56) ^ 1;
  return random_next(&state);
}

static void hang_up(struct peer *peer) {
  if (peer->fd >= 0) close(peer->fd);
  peer->fd = -1;
  peer->state = DOWN;
  peer->since_ns = now_ns();
}

static void send_message(struct peer *peer, struct message m) {
  m.magic = MAGIC;
  m.check = checksum(&m);
  memcpy(peer->out + peer->out_used, &m, sizeof m);
  peer->out_used += sizeof m;
}

static void send_move(struct peer *peer, uint64_t number) {
  size_t slot = number % RING;
  send_message(peer, (struct message){ .kind = MOVE, .number = number, .sum = peer->ring[slot].sum, .account = peer->ring[slot].account, .amount = peer->ring[slot].amount });
}

static void greet(struct peer *peer) {
  int on = 1;
  setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  peer->state = GREETING;
  peer->since_ns = now_ns();
  peer->in_used = peer->out_used = 0;
  send_message(peer, (struct message){ .kind = HELLO, .number = peer->received, .sum = boot });
}

/* The greeting says how far the other end came; what it misses is repeated. */
static void greeted(struct peer *peer, const struct message *m) {
  if (peer->boot && peer->boot != m->sum) error("peer has started anew", peer);
  uint64_t heard = m->number;
  if (heard > peer->sent || peer->sent - heard > RING / 4) { error("peer misses more than can be repeated", peer); heard = peer->sent; }
  peer->boot = m->sum;
  if (peer->established++) reconnects++;
  peer->state = UP;
  for (uint64_t number = heard + 1; number <= peer->sent; number++) send_move(peer, number);
}

static void credit(struct peer *peer, const struct message *m) {
  if (m->number != peer->received + 1) error(m->number <= peer->received ? "a move came twice" : "a move was lost", peer);
  if (m->sum != peer->received_sum + m->amount) error("the sum of all moves differs", peer);
  peer->received = m->number;
  peer->received_sum += m->amount;
  balances[m->account % ACCOUNTS] += m->amount;
  received++;
}

static void read_peer(struct peer *peer) {
  ssize_t got = read(peer->fd, peer->in + peer->in_used, BUFFER - peer->in_used);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) { hang_up(peer); return; }
  peer->in_used += (size_t)got;
  size_t at = 0;
  for (; peer->in_used - at >= sizeof(struct message); at += sizeof(struct message)) {
    struct message m;
    memcpy(&m, peer->in + at, sizeof m);
    if (m.magic != MAGIC || m.check != checksum(&m)) { error("a message is corrupt", peer); hang_up(peer); return; }
    if (m.kind == HELLO && peer->state == GREETING) greeted(peer, &m);
    else if (m.kind == MOVE && peer->state == UP) credit(peer, &m);
    else { error("a message came out of place", peer); hang_up(peer); return; }
  }
  memmove(peer->in, peer->in + at, peer->in_used -= at);
}

static void write_peer(struct peer *peer) {
  ssize_t put = send(peer->fd, peer->out, peer->out_used, MSG_NOSIGNAL);
  if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (put < 0) { hang_up(peer); return; }
  memmove(peer->out, peer->out + put, peer->out_used -= (size_t)put);
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
  for (int i = dial_below; i < peer_count; i++)
    if (peers[i].address.s_addr == from.sin_addr.s_addr) { hang_up(&peers[i]); peers[i].fd = fd; greet(&peers[i]); return; }
  close(fd);
}

static void keep_links(uint64_t now) {
  for (int i = 0; i < peer_count; i++) {
    uint64_t age_ms = (now - peers[i].since_ns) / 1000000;
    if (peers[i].state == DOWN && i < dial_below && age_ms >= RETRY_MS) dial(&peers[i]);
    else if ((peers[i].state == DIALLING || peers[i].state == GREETING) && age_ms >= GREETING_MS) hang_up(&peers[i]);
  }
}

static void move_money(void) {
  struct peer *peer = &peers[random_next(&random_state) % (uint64_t)peer_count];
  uint64_t *from = &balances[random_next(&random_state) % ACCOUNTS], amount = 1 + random_next(&random_state) % LARGEST_MOVE;
  if (amount > *from) amount = *from;
  if (!amount || peer->state != UP || peer->out_used > BUFFER / 4) return;
  *from -= amount;
  uint64_t number = ++peer->sent;
  peer->sent_sum += amount;
  peer->ring[number % RING].sum = peer->sent_sum;
  peer->ring[number % RING].amount = (uint32_t)amount;
  peer->ring[number % RING].account = (uint32_t)(random_next(&random_state) % ACCOUNTS);
  send_move(peer, number);
  moves++;
}

static uint64_t balance(void) {
  uint64_t total = 0, expected = ACCOUNTS * OPENING;
  for (int i = 0; i < ACCOUNTS; i++) total += balances[i];
  for (int i = 0; i < peer_count; i++) expected += peers[i].received_sum - peers[i].sent_sum;
  if (total != expected) error("the balances do not match the moves", NULL);
  return total;
}

static void report(char *reply, size_t room) {
  char address[INET_ADDRSTRLEN];
  int connected = 0;
  uint64_t total = balance();
  for (int i = 0; i < peer_count; i++) connected += peers[i].state == UP;
  inet_ntop(AF_INET, &own, address, sizeof address);
  size_t at = (size_t)snprintf(reply, room,
    "{\"daemon\":\"bank\",\"address\":\"%s\",\"moves\":%llu,\"received\":%llu,\"errors\":%llu,\"error\":\"%s\",\"reconnects\":%llu,"
    "\"connected\":%d,\"peers\":%d,\"held\":%s,\"initial\":%d,\"balance\":%llu,\"links\":[",
    address, (unsigned long long)moves, (unsigned long long)received, (unsigned long long)errors, error_text, (unsigned long long)reconnects,
    connected, peer_count, now_ns() < held_until_ns ? "true" : "false", ACCOUNTS * OPENING, (unsigned long long)total);
  for (int i = 0; i < peer_count && at < room; i++) {
    inet_ntop(AF_INET, &peers[i].address, address, sizeof address);
    at += (size_t)snprintf(reply + at, room - at, "%s{\"peer\":\"%s\",\"up\":%s,\"sent\":%llu,\"sent_sum\":%llu,\"received\":%llu,\"received_sum\":%llu}",
      i ? "," : "", address, peers[i].state == UP ? "true" : "false", (unsigned long long)peers[i].sent, (unsigned long long)peers[i].sent_sum,
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

static void run(uint16_t control_port, uint64_t moves_per_s) {
  static struct control control;
  static struct pollfd set[1 + CONTROL_CLIENTS + 1 + PEERS];
  uint64_t before = now_ns(), due = 0;
  control_open(&control, control_port);
  listener = listen_on(port);
  for (;;) {
    int controls = control_watch(&control, set), count = controls, watched[PEERS];
    set[count++] = (struct pollfd){ .fd = listener, .events = POLLIN };
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
    if (set[controls].revents) accept_peer();
    control_serve(&control, set, controls, answer);
    uint64_t now = now_ns(), elapsed = now - before;
    before = now;
    keep_links(now);
    /* A long stop is not made up for: at most one second's worth. */
    due += (elapsed > 1000000000u ? 1000000000u : elapsed) * moves_per_s;
    for (; due >= 1000000000u; due -= 1000000000u)
      if (peer_count && now >= held_until_ns) move_money();
  }
}

static void know_peers(char *list) {
  peers = calloc(PEERS, sizeof *peers);
  if (!peers) die("memory for the peers");
  for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
    struct in_addr address;
    if (inet_pton(AF_INET, word, &address) != 1 || peer_count == PEERS) { fprintf(stderr, "bank: bad address or too many: %s\n", word); exit(2); }
    if (address.s_addr == own.s_addr) { dial_below = peer_count; continue; }
    peers[peer_count].address = address;
    peers[peer_count++].fd = -1;
  }
}

int main(int count, char **arguments) {
  if (count != 7 || inet_pton(AF_INET, arguments[3], &own) != 1) {
    fprintf(stderr, "usage: bank PORT CONTROL_PORT OWN_ADDRESS ADDRESSES MOVES_PER_S SEED\n");
    return 2;
  }
  port = (uint16_t)atoi(arguments[1]);
  know_peers(arguments[4]);
  if (getrandom(&boot, sizeof boot, 0) != sizeof boot) die("getrandom");
  boot |= 1;
  random_state = strtoull(arguments[6], NULL, 10) * 0x9e3779b97f4a7c15ULL + ntohl(own.s_addr) + 1;
  for (int i = 0; i < ACCOUNTS; i++) balances[i] = OPENING;
  run((uint16_t)atoi(arguments[2]), strtoull(arguments[5], NULL, 10));
}
