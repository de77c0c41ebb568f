/*
 * database: SQLite behind a port. Every commit is one transaction, synced to the disk before it is answered (rollback journal, synchronous=FULL),
 * that writes two tables which must agree: the transaction itself, and its client's running total.
 *
 *   database FILE PORT
 *   commit CLIENT NUMBER VALUE -> {"daemon":"database","client","number","committed":true}; the same once more changes nothing and is answered alike
 *   read CLIENT FROM           -> {"daemon":"database","client","rows":[[number, value], ...]} from that number on, at most READ_ROWS
 *   status                     -> {"daemon":"database","transactions","errors","error","sound"}: sound: both tables agree
 *   check                      -> the same, after SQLite's own check of the whole file
 */
#define _GNU_SOURCE
#include "control.h"
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_ROWS = 400 };

static sqlite3 *base;
static sqlite3_stmt *begin, *insert, *add, *commit, *undo, *find, *rows, *count_rows, *disagree;
static uint64_t errors;
static char error_text[160];

static void error(const char *what) {
  char line[120];
  size_t at = 0;
  snprintf(line, sizeof line, "%s: %s", what, sqlite3_errmsg(base));
  fprintf(stderr, "virtcft guest: database: %s\n", line);
  if (errors++) return;
  for (const char *c = line; *c; c++) error_text[at++] = *c == '"' || *c == '\\' ? '\'' : *c;
}

static sqlite3_stmt *prepare(const char *text) {
  sqlite3_stmt *statement;
  if (sqlite3_prepare_v2(base, text, -1, &statement, NULL) != SQLITE_OK) { fprintf(stderr, "virtcft guest: database: %s: %s\n", text, sqlite3_errmsg(base)); exit(1); }
  return statement;
}

/* Runs a statement that gives no rows. */
static int run_statement(sqlite3_stmt *statement) {
  int code = sqlite3_step(statement);
  sqlite3_reset(statement);
  return code == SQLITE_DONE;
}

static void open_base(const char *file) {
  char *complaint = NULL;
  /* The file outlives a process that was killed in a transaction: SQLite rolls it back by its journal when it is opened. */
  if (sqlite3_open(file, &base) != SQLITE_OK ||
      sqlite3_exec(base, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL; PRAGMA locking_mode=EXCLUSIVE;"
        "CREATE TABLE IF NOT EXISTS entries (client INTEGER, number INTEGER, value TEXT, PRIMARY KEY (client, number)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS totals (client INTEGER PRIMARY KEY, count INTEGER, sum INTEGER);", NULL, NULL, &complaint) != SQLITE_OK) {
    fprintf(stderr, "virtcft guest: database: %s: %s\n", file, complaint ? complaint : sqlite3_errmsg(base));
    exit(1);
  }
  begin = prepare("BEGIN IMMEDIATE");
  insert = prepare("INSERT INTO entries VALUES (?1, ?2, ?3)");
  add = prepare("INSERT INTO totals VALUES (?1, 1, ?2) ON CONFLICT (client) DO UPDATE SET count = count + 1, sum = sum + ?2");
  commit = prepare("COMMIT");
  undo = prepare("ROLLBACK");
  find = prepare("SELECT value FROM entries WHERE client = ?1 AND number = ?2");
  rows = prepare("SELECT number, value FROM entries WHERE client = ?1 AND number >= ?2 ORDER BY number LIMIT ?3");
  count_rows = prepare("SELECT count(*) FROM entries");
  disagree = prepare("SELECT count(*) FROM (SELECT client, count(*) AS n, sum(number) AS s FROM entries GROUP BY client) AS e LEFT JOIN totals AS t ON t.client = e.client "
    "WHERE t.client IS NULL OR t.count <> e.n OR t.sum <> e.s");
}

/* -1: not there, 0: there with another value, 1: there. */
static int holds(int64_t client, int64_t number, const char *value) {
  sqlite3_bind_int64(find, 1, client);
  sqlite3_bind_int64(find, 2, number);
  int found = -1;
  if (sqlite3_step(find) == SQLITE_ROW) found = !strcmp((const char *)sqlite3_column_text(find, 0), value);
  sqlite3_reset(find);
  return found;
}

static int write_entry(int64_t client, int64_t number, const char *value) {
  sqlite3_bind_int64(insert, 1, client);
  sqlite3_bind_int64(insert, 2, number);
  sqlite3_bind_text(insert, 3, value, -1, SQLITE_TRANSIENT);
  sqlite3_bind_int64(add, 1, client);
  sqlite3_bind_int64(add, 2, number);
  if (!run_statement(begin)) return 0;
  if (run_statement(insert) && run_statement(add) && run_statement(commit)) return 1;
  error("a transaction failed");
  run_statement(undo);
  return 0;
}

static void answer_commit(const char *words, char *reply, size_t room) {
  long long client, number;
  char value[64];
  if (sscanf(words, "%lld %lld %63s", &client, &number, value) != 3) { snprintf(reply, room, "{\"daemon\":\"database\",\"refused\":\"commit CLIENT NUMBER VALUE\"}"); return; }
  int there = holds(client, number, value);
  int done = there < 0 ? write_entry(client, number, value) : there;
  snprintf(reply, room, "{\"daemon\":\"database\",\"client\":%lld,\"number\":%lld,\"committed\":%s}", client, number, done ? "true" : "false");
}

static void answer_read(const char *words, char *reply, size_t room) {
  long long client, from;
  if (sscanf(words, "%lld %lld", &client, &from) != 2) { snprintf(reply, room, "{\"daemon\":\"database\",\"refused\":\"read CLIENT FROM\"}"); return; }
  size_t at = (size_t)snprintf(reply, room, "{\"daemon\":\"database\",\"client\":%lld,\"rows\":[", client);
  sqlite3_bind_int64(rows, 1, client);
  sqlite3_bind_int64(rows, 2, from);
  sqlite3_bind_int(rows, 3, READ_ROWS);
  /* Stops while there is room for another row and the end. */
  for (int first = 1; at + 128 < room && sqlite3_step(rows) == SQLITE_ROW; first = 0)
    at += (size_t)snprintf(reply + at, room - at, "%s[%lld,\"%s\"]", first ? "" : ",", (long long)sqlite3_column_int64(rows, 0), (const char *)sqlite3_column_text(rows, 1));
  sqlite3_reset(rows);
  snprintf(reply + at, room - at, "]}");
}

static int64_t number_of(sqlite3_stmt *statement) {
  int64_t number = -1;
  if (sqlite3_step(statement) == SQLITE_ROW) number = sqlite3_column_int64(statement, 0);
  else error("a question to the database failed");
  sqlite3_reset(statement);
  return number;
}

static void check_file(void) {
  sqlite3_stmt *check = prepare("PRAGMA integrity_check(1)");
  if (sqlite3_step(check) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(check, 0), "ok")) error("the file is not sound");
  sqlite3_finalize(check);
}

static void answer(const char *command, char *reply, size_t room) {
  if (!strncmp(command, "commit ", 7)) { answer_commit(command + 7, reply, room); return; }
  if (!strncmp(command, "read ", 5)) { answer_read(command + 5, reply, room); return; }
  if (!strcmp(command, "check")) check_file();
  else if (strcmp(command, "status")) { snprintf(reply, room, "{\"daemon\":\"database\",\"refused\":\"commands: commit CLIENT NUMBER VALUE, read CLIENT FROM, status, check\"}"); return; }
  int64_t transactions = number_of(count_rows), differing = number_of(disagree);
  snprintf(reply, room, "{\"daemon\":\"database\",\"transactions\":%lld,\"errors\":%llu,\"error\":\"%s\",\"sound\":%s}",
    (long long)(transactions < 0 ? 0 : transactions), (unsigned long long)errors, error_text, differing ? "false" : "true");
}

int main(int count, char **arguments) {
  static struct control control;
  if (count != 3) { fprintf(stderr, "usage: database FILE PORT\n"); return 2; }
  open_base(arguments[1]);
  control_open(&control, (uint16_t)atoi(arguments[2]));
  for (;;) {
    struct pollfd set[1 + CONTROL_CLIENTS];
    int watched = control_watch(&control, set);
    if (poll(set, (nfds_t)watched, -1) < 0 && errno != EINTR) die("poll");
    control_serve(&control, set, watched, answer);
  }
}
