/*
 * A terminal as a screen that is repainted from time to time: its size, its abilities, and keys. Uses plain ANSI
 * control sequences. If standard output is not a terminal, only the text is printed.
 */
#ifndef VJ_REPORT_TERMINAL_H
#define VJ_REPORT_TERMINAL_H

#include <termios.h>

#include "base/status.h"

typedef struct {
    int lines, columns; /* brought up to date by vj_terminal_wait() */
    bool screen;        /* standard output is a terminal that can be painted */
    bool unicode;       /* the locale is UTF-8, and the terminal is not "dumb" */
    bool colour;
    bool raw; /* keys arrive at once; `before` holds the terminal's previous settings */
    struct termios before;
} vj_terminal;

/* Sequences for the style of text; vj_terminal_paint() removes them if there are no colours. */
#define VJ_BOLD   "\033[1m"
#define VJ_DIM    "\033[2m"
#define VJ_RED    "\033[1;31m"
#define VJ_GREEN  "\033[32m"
#define VJ_YELLOW "\033[33m"
#define VJ_PLAIN  "\033[0m"

/** Examine standard output and the environment (TERM, NO_COLOR, COLUMNS, LINES, locale). Writes nothing. */
void vj_terminal_examine(vj_terminal *terminal);

/**
 * Take over the screen until vj_terminal_close(), which restores what was there. SIGINT, SIGTERM and SIGHUP only make
 * vj_terminal_wait() return false, so that the screen can be restored after them too. Only one terminal may be open in
 * a process.
 */
void vj_terminal_open(vj_terminal *terminal);
void vj_terminal_close(vj_terminal *terminal);

/**
 * Show a text whose lines may contain the sequences above. On a screen, long lines and lines that do not fit are cut.
 * Otherwise the whole text is printed. VJ_ERR_IO if standard output cannot be written.
 */
vj_status vj_terminal_paint(const vj_terminal *terminal, const char *text);

/** Wait for `seconds`, or until the window's size changes or a key is pressed. Returns false if the program should end
 * (q, Ctrl-C, a signal). */
bool vj_terminal_wait(vj_terminal *terminal, double seconds);

#endif
