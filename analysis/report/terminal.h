/*
 * A terminal as a screen that is painted anew now and then: its size, what it can show, keys. Plain ANSI control
 * sequences. Standard output that is no terminal takes the text alone.
 */
#ifndef VJ_REPORT_TERMINAL_H
#define VJ_REPORT_TERMINAL_H

#include <termios.h>

#include "base/status.h"

typedef struct {
    int lines, columns; /* brought up to date by vj_terminal_wait() */
    bool screen;        /* standard output is a terminal that can be painted */
    bool unicode;       /* the locale is UTF-8, and the terminal not a dumb one */
    bool colour;
    bool raw; /* keys arrive at once; `before` is how the terminal was */
    struct termios before;
} vj_terminal;

/* How a piece of text is shown; vj_terminal_paint() leaves these out where there are no colours. */
#define VJ_BOLD   "\033[1m"
#define VJ_DIM    "\033[2m"
#define VJ_RED    "\033[1;31m"
#define VJ_GREEN  "\033[32m"
#define VJ_YELLOW "\033[33m"
#define VJ_PLAIN  "\033[0m"

/** Look at standard output and the environment (TERM, NO_COLOR, COLUMNS, LINES, locale); nothing is written. */
void vj_terminal_look(vj_terminal *terminal);

/**
 * Take the screen over until vj_terminal_close(), which restores what was there: also after SIGINT, SIGTERM and SIGHUP,
 * which only make vj_terminal_wait() return false. One at a time in a process.
 */
void vj_terminal_open(vj_terminal *terminal);
void vj_terminal_close(vj_terminal *terminal);

/**
 * Show a text whose lines may hold the sequences above. On a screen: what is too long or too much is cut. Otherwise all
 * of it is printed. VJ_ERR_IO if standard output cannot be written.
 */
vj_status vj_terminal_paint(const vj_terminal *terminal, const char *text);

/** Wait, until the window's size changes or a key is pressed at the latest. False: to end (q, Ctrl-C, a signal). */
bool vj_terminal_wait(vj_terminal *terminal, double seconds);

#endif
