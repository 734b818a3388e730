/*
 * A full-screen view on the terminal, in plain ANSI (ECMA-48) control sequences: the alternate
 * screen, redrawn as a whole. One per process. However the program ends - Ctrl-C, SIGTERM, SIGHUP,
 * 'q' - the terminal is as it was; Ctrl-Z gives it back until the program goes on.
 */
#ifndef DARKROOM_PIPELINE_CLI_SCREEN_H
#define DARKROOM_PIPELINE_CLI_SCREEN_H

#include "base/buf.h"

#define CLI_SCREEN_BYTES_MAX (256u << 10)

/* Is standard output one? */
bool cli_screen_possible(void);
/* Ctrl-C from here on ends the program with 0. */
void cli_screen_begin(void);
void cli_screen_end(void);
/* Shows these lines, cut to the window. Control bytes in them are the caller's to escape. */
void cli_screen_draw(struct slice lines);
/* Waits so long, or until the window changes its size (returns early) or 'q' is pressed (false). */
bool cli_screen_wait(int64_t ms);

#endif
