/* SPDX-License-Identifier: MIT */
/* Asking a person at the terminal: see term.h. */
#include <signal.h>
#include <termios.h>

#include "client/updctl/term.h"

static void on_interrupt(int sig) {
}

/* Ctrl-C ends the reading and nothing else, so that the echo always comes back. */
static ssize_t read_line(char **line) {
        struct sigaction ours = {.sa_handler = on_interrupt}, was;
        sigset_t interrupt, mask;
        size_t room = 0;
        ssize_t n;

        (void) sigemptyset(&interrupt);
        (void) sigaddset(&interrupt, SIGINT);
        (void) sigaction(SIGINT, &ours, &was);
        (void) sigprocmask(SIG_UNBLOCK, &interrupt, &mask);
        n = getline(line, &room, stdin);
        (void) sigprocmask(SIG_SETMASK, &mask, NULL);
        (void) sigaction(SIGINT, &was, NULL);
        return n;
}

char *ask_line(const Screen *s, bool echo, const char *prompt) {
        _cleanup_free_ char *line = NULL;
        struct termios was, quiet;
        bool hidden = false;
        ssize_t n;

        put(s, BOLD, "%s", prompt);
        (void) fflush(s->f);
        if (!echo && tcgetattr(STDIN_FILENO, &was) == 0) {
                quiet = was;
                quiet.c_lflag &= ~(tcflag_t) ECHO;
                hidden = tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
        }
        n = read_line(&line);
        if (hidden) {
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
                (void) fputc('\n', s->f);
        }
        if (n < 0) {
                clearerr(stdin);
                (void) fputc('\n', s->f);
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
