/* fork() while another thread creates the first segmenter of a process: the child gets a segmenter
 * or an error, and never waits for locks of threads that do not exist in it. Argument: a model. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *model;
static sem_t inside, forked;
static int waits;

/* Called by fcn_create(): blocks it until the fork is done. */
static void says(fcn_log_level level, const char *message, void *unused) {
    (void)level, (void)unused;
    if (!waits || strstr(message, "the network runs on the CPU") == NULL) return;
    sem_post(&inside);
    while (sem_wait(&forked) != 0) continue;
}

static void *creates(void *unused) {
    fcn_segmenter *segmenter = NULL;
    fcn_options *options = fcn_options_new();
    WORKS(fcn_options_set_log(options, says, NULL));
    WORKS(fcn_create(model, options, &segmenter));
    fcn_free(segmenter);
    fcn_options_free(options);
    return unused;
}

/* The child's result: 0 if it got a segmenter, 1 if creation failed as documented, 2 otherwise. */
static int child(void) {
    fcn_segmenter *segmenter = NULL;
    fcn_status status = fcn_create(model, NULL, &segmenter);
    if (status == FCN_ERROR_RUNTIME && strstr(fcn_last_error(), "forked while another thread") != NULL) return 1;
    fcn_free(segmenter);
    return status == FCN_OK ? 0 : 2;
}

static int result_of(pid_t process) {
    int status = -1;
    CHECK(waitpid(process, &status, 0) == process);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

/* Runs in a new process without a segmenter. Forks this many milliseconds after the other thread
 * has entered fcn_create(), or with -1 when the log shows that it has. */
static int process(int milliseconds) {
    struct timespec time = {0, milliseconds * 1000000L};
    pthread_t thread;
    pid_t forks;
    int result;
    waits = milliseconds < 0;
    CHECK(pthread_create(&thread, NULL, creates, NULL) == 0);
    if (waits) {
        while (sem_wait(&inside) != 0) continue;
    } else {
        nanosleep(&time, NULL);
    }
    forks = fork();
    if (forks == 0) {
        alarm(600);
        _exit(child());
    }
    if (waits) sem_post(&forked);
    result = result_of(forks);
    CHECK(pthread_join(thread, NULL) == 0);
    /* Now no thread is in fcn_create(). */
    forks = fork();
    if (forks == 0) {
        alarm(600);
        _exit(child());
    }
    CHECK(result_of(forks) == 0);
    if (failures > 0) return 3;
    return result;
}

int main(int argc, char **argv) {
    static const int moments[] = {-1, 0, 1, 2, 5, 10, 20, 50, 100};
    size_t i;
    if (argc != 2) return 2;
    model = argv[1];
    CHECK(sem_init(&inside, 0, 0) == 0 && sem_init(&forked, 0, 0) == 0);
    for (i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        pid_t own = fork();
        int result;
        if (own == 0) {
            alarm(600);
            _exit(process(moments[i]));
        }
        result = result_of(own);
        CHECK(result == 0 || result == 1);
        if (moments[i] < 0) CHECK(result == 1);
    }
    return report();
}
