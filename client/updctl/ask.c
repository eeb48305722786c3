/* SPDX-License-Identifier: MIT */
/* Asking a person at the terminal: see term.h. */
#include <poll.h>
#include <signal.h>
#include <termios.h>

#include "client/updctl/term.h"

static void on_interrupt(int sig) {
}

/* Ctrl-C is let in only while nothing is typed yet and the echo will be given back. */
typedef struct Interrupt {
        struct sigaction was;
        sigset_t mask;
} Interrupt;

static void interrupt_hold(Interrupt *i) {
        struct sigaction ours = {.sa_handler = on_interrupt};
        sigset_t interrupt;

        (void) sigemptyset(&interrupt);
        (void) sigaddset(&interrupt, SIGINT);
        (void) sigprocmask(SIG_BLOCK, &interrupt, &i->mask);
        (void) sigaction(SIGINT, &ours, &i->was);
}

/* In this order: one that came too late for the question is dropped with it. */
static void interrupt_release(const Interrupt *i) {
        (void) sigprocmask(SIG_SETMASK, &i->mask, NULL);
        (void) sigaction(SIGINT, &i->was, NULL);
}

/* A terminal hands over whole lines, so once something is there nothing blocks. */
static ssize_t read_line(const Interrupt *i, char **line) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        sigset_t open = i->mask;
        size_t room = 0;

        (void) sigdelset(&open, SIGINT);
        if (ppoll(&p, 1, NULL, &open) < 0)
                return -1;
        return getline(line, &room, stdin);
}

char *ask_line(const Screen *s, bool echo, const char *prompt) {
        _cleanup_free_ char *line = NULL;
        struct termios was, quiet;
        bool hidden = false;
        Interrupt interrupt;
        ssize_t n;

        interrupt_hold(&interrupt);
        if (!echo && tcgetattr(STDIN_FILENO, &was) == 0) {
                quiet = was;
                quiet.c_lflag &= ~(tcflag_t) ECHO;
                hidden = tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
        }
        /* Only now: who sees the prompt may type at once, and nothing of it is shown or lost. */
        put(s, BOLD, "%s", prompt);
        (void) fflush(s->f);
        n = read_line(&interrupt, &line);
        if (hidden)
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
        interrupt_release(&interrupt);
        if (n < 0 || hidden)
                (void) fputc('\n', s->f);
        if (n < 0) {
                clearerr(stdin);
                return NULL;
        }
        if (n > 0 && line[n - 1] == '\n')
                line[n - 1] = '\0';
        return TAKE(line);
}

bool ask_yes(const Screen *s, const char *prompt) {
        _cleanup_free_ char *question = strf("%s [y/N] ", prompt);
        _cleanup_free_ char *line = question ? ask_line(s, true, question) : NULL;

        return line && (streq(line, "y") || streq(line, "Y") || streq(line, "yes"));
}
