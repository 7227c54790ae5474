/* Shared by the C test programs: checks that count failures and print their line. */

#ifndef CHECK_H
#define CHECK_H

#include <fcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks = 0;
static int failures = 0;

static inline void check(int line, int holds, const char *what) {
    checks++;
    if (holds) return;
    failures++;
    fprintf(stderr, "line %d: %s does not hold\n", line, what);
}

/* A call fails with this status, and its message contains these words. */
static inline void check_failure(int line, fcn_status status, fcn_status wanted, const char *words) {
    const char *message = fcn_last_error();
    checks++;
    if (status == wanted && strstr(message, words) != NULL) return;
    failures++;
    fprintf(stderr, "line %d: %s \"%s\", where %s and \"%s\" are expected\n", line, fcn_status_name(status), message,
            fcn_status_name(wanted), words);
}

/* A call works. */
static inline void check_success(int line, fcn_status status) {
    checks++;
    if (status == FCN_OK) return;
    failures++;
    fprintf(stderr, "line %d: %s \"%s\"\n", line, fcn_status_name(status), fcn_last_error());
}

#define CHECK(condition) check(__LINE__, (condition) ? 1 : 0, #condition)
#define FAILS(call, status, words) check_failure(__LINE__, (call), (status), (words))
#define WORKS(call) check_success(__LINE__, (call))

/* The file `name` in `folder`; the text is overwritten after 4 calls. */
static inline const char *path_in(const char *folder, const char *name) {
    static char paths[4][4096];
    static int next = 0;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* The exit code: 0 if every check passed. */
static inline int report(void) {
    printf("%d checks, %d failures\n", checks, failures);
    return checks > 0 && failures == 0 ? 0 : 1;
}

#endif
