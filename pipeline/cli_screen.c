/*
 * Signals: those that end the program give the terminal back in the handler, with calls that are
 * allowed there (write, tcsetattr, _exit, raise), so that no request under way delays them. Those
 * that only change something interrupt the wait.
 */
#include "pipeline/cli_screen.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l" /* alternate screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"
#define HOME "\033[H"
#define LINE_END "\033[K\n" /* the rest of the line is cleared */
#define BELOW "\033[J"
#define ROWS_DEFAULT 24
#define COLUMNS_DEFAULT 80

static struct termios saved;
static volatile sig_atomic_t raw, shown, resized;

static void
say(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDOUT_FILENO, p, n);
        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
    }
}

/* Also in a signal handler. */
static void
give_back(void)
{
    if (shown)
        say(LEAVE, sizeof LEAVE - 1);
    shown = 0;
    if (raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    raw = 0;
}

/* Keys without echo and without waiting for a line; Ctrl-C and Ctrl-Z stay signals. */
static void
take(void)
{
    struct termios keys;
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0) {
        keys = saved;
        keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        keys.c_cc[VMIN] = 0;
        keys.c_cc[VTIME] = 0;
        raw = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
    }
    say(ENTER, sizeof ENTER - 1);
    shown = 1;
}

static void
on_end(int signum)
{
    give_back();
    if (signum == SIGINT)
        _exit(0);
    signal(signum, SIG_DFL);
    raise(signum);
}

static void
on_stop(int signum)
{
    (void)signum;
    give_back();
    raise(SIGSTOP);
    take(); /* SIGCONT came */
    resized = 1;
}

static void
on_resize(int signum)
{
    (void)signum;
    resized = 1;
}

bool
cli_screen_possible(void)
{
    return isatty(STDOUT_FILENO) != 0;
}

void
cli_screen_begin(void)
{
    const struct {
        int signum;
        void (*handler)(int);
    } all[] = {{SIGINT, on_end},
               {SIGTERM, on_end},
               {SIGHUP, on_end},
               {SIGTSTP, on_stop},
               {SIGWINCH, on_resize}};
    take();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct sigaction action = {.sa_handler = all[i].handler};
        sigfillset(&action.sa_mask); /* one at a time */
        sigaction(all[i].signum, &action, NULL);
    }
}

void
cli_screen_end(void)
{
    give_back();
}

/* The bytes of a line that fill at most so many columns, a character each. */
static size_t
cut(struct slice line, int columns)
{
    size_t n = 0;
    for (int used = 0; n < line.n; n++) {
        bool begins = ((unsigned char)line.p[n] & 0xc0) != 0x80;
        if (begins && used++ == columns)
            break;
    }
    return n;
}

void
cli_screen_draw(struct slice lines)
{
    struct winsize size = {0};
    struct buf out;
    buf_init(&out, 2 * CLI_SCREEN_BYTES_MAX);
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    int rows = size.ws_row > 0 ? size.ws_row : ROWS_DEFAULT;
    int columns = size.ws_col > 0 ? size.ws_col : COLUMNS_DEFAULT;
    buf_puts(&out, HOME);
    for (int row = 0; row + 1 < rows && lines.n > 0; row++) {
        struct slice line = slice_cut(lines, '\n', &lines);
        buf_put(&out, line.p, cut(line, columns));
        buf_puts(&out, LINE_END);
    }
    buf_puts(&out, BELOW);
    if (out.err == 0 && shown)
        say(out.p, out.n);
    buf_fini(&out);
}

bool
cli_screen_wait(int64_t ms)
{
    struct pollfd in = {.fd = raw ? STDIN_FILENO : -1, .events = POLLIN};
    char key = 0;
    if (!resized && poll(&in, 1, (int)ms) > 0) {
        if (read(STDIN_FILENO, &key, 1) == 1 && (key == 'q' || key == 'Q'))
            return false;
    }
    resized = 0;
    return true;
}
