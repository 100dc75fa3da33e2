/* Paints a terminal, and handles its keys and signals. */
#include "report/terminal.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Written by signal handlers. */
static volatile sig_atomic_t told_to_end, size_changed;

static void on_end(int signal)
{
    (void)signal;
    told_to_end = 1;
}

static void on_size(int signal)
{
    (void)signal;
    size_changed = 1;
}

/* ------------------------------------------------------------------------------------------------ what it is */

static int number_in(const char *name, int fallback)
{
    const char *text = getenv(name);
    const int value = text ? atoi(text) : 0;
    return value > 0 && value < 10000 ? value : fallback;
}

static void find_size(vj_terminal *t)
{
    struct winsize size;
    t->columns = number_in("COLUMNS", 80);
    t->lines = number_in("LINES", 24);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return;
    if (size.ws_col > 0) t->columns = size.ws_col;
    if (size.ws_row > 0) t->lines = size.ws_row;
}

void vj_terminal_examine(vj_terminal *t)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    const bool dumb = term && strcmp(term, "dumb") == 0;
    memset(t, 0, sizeof *t);
    setlocale(LC_CTYPE, "");
    t->unicode = !dumb && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    t->screen = isatty(STDOUT_FILENO) && term && *term && !dumb;
    t->colour = t->screen && !(no_colour && *no_colour);
    find_size(t);
}

/* ------------------------------------------------------------------------------------------------ open and close */

static void listen(int signal, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler}; /* without SA_RESTART: poll() returns */
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, NULL);
}

void vj_terminal_open(vj_terminal *t)
{
    told_to_end = size_changed = 0;
    listen(SIGINT, on_end);
    listen(SIGTERM, on_end);
    listen(SIGHUP, on_end);
    listen(SIGWINCH, on_size);
    if (!t->screen) return;
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &t->before) == 0) {
        struct termios raw = t->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        t->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    fputs("\033[?1049h\033[?25l", stdout); /* the other screen, no cursor */
    fflush(stdout);
}

void vj_terminal_close(vj_terminal *t)
{
    if (t->raw) (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before); /* nothing else can be done */
    t->raw = false;
    if (t->screen) {
        fputs("\033[?25h\033[?1049l", stdout);
        fflush(stdout);
    }
    listen(SIGINT, SIG_DFL);
    listen(SIGTERM, SIG_DFL);
    listen(SIGHUP, SIG_DFL);
    listen(SIGWINCH, SIG_DFL);
}

/* ------------------------------------------------------------------------------------------------ painting */

/* Return the bytes of the control sequence or character that begins here. *wide: the columns that it takes. */
static size_t next_piece(const char *text, int *wide)
{
    size_t bytes = 1;
    *wide = 0;
    if (text[0] == '\033') {
        while (text[bytes] && text[bytes] != 'm') bytes++;
        return text[bytes] ? bytes + 1 : bytes;
    }
    while (((unsigned char)text[bytes] & 0xc0) == 0x80) bytes++; /* the rest of a UTF-8 character */
    *wide = 1;
    return bytes;
}

static const char *paint_line(const vj_terminal *t, const char *text, FILE *out)
{
    int column = 0, wide;
    while (*text && *text != '\n') {
        const size_t bytes = next_piece(text, &wide);
        const bool fits = !t->screen || column + wide <= t->columns;
        if (wide ? fits : t->colour) fwrite(text, 1, bytes, out);
        column += wide;
        text += bytes;
    }
    if (t->colour) fputs(VJ_PLAIN, out);
    return *text ? text + 1 : text;
}

vj_status vj_terminal_paint(const vj_terminal *t, const char *text)
{
    if (t->screen) fputs("\033[H", stdout);
    for (int line = 0; *text && (!t->screen || line < t->lines); line++) {
        if (t->screen && line > 0) fputs("\r\n", stdout); /* not after the last line, which would scroll */
        text = paint_line(t, text, stdout);
        fputs(t->screen ? "\033[K" : "\n", stdout);
    }
    if (t->screen) fputs("\033[J", stdout);
    if (fflush(stdout) == 0 && !ferror(stdout)) return VJ_OK;
    return vj_raise(VJ_ERR_IO, "write to standard output");
}

bool vj_terminal_wait(vj_terminal *t, double seconds)
{
    const double until = vj_now() + seconds;
    struct pollfd keys = {.fd = t->raw ? STDIN_FILENO : -1, .events = POLLIN};
    for (double left = seconds; !told_to_end && !size_changed && left > 0.0; left = until - vj_now()) {
        char key;
        if (poll(&keys, 1, (int)(1e3 * left) + 1) <= 0) continue; /* time is over, or a signal */
        const ssize_t bytes = read(STDIN_FILENO, &key, 1);
        if (bytes == 1 && (key == 'q' || key == 'Q')) told_to_end = 1;
        if (bytes == 1) break;
        if (bytes == 0) keys.fd = -1; /* the terminal is gone, or its end of file */
    }
    if (size_changed) find_size(t);
    size_changed = 0;
    return !told_to_end;
}
