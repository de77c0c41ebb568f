/* A totally ordered history that outside clients append to: every entry has a number and the hash of the whole chain up to it. */
#ifndef HISTORY_H
#define HISTORY_H
#include <stddef.h>

/*
 * Answers one command of the history's port:
 *   append WORD -> {"daemon":"history","number","hash"}: the new entry
 *   hashes FROM -> {"daemon":"history","length","from","hashes":[...]}: of the entries FROM, FROM + 1, ...; at most HISTORY_HASHES
 */
void history_answer(const char *command, char *reply, size_t room);
#endif
