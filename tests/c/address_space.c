/* Limited address space, as with `ulimit -v`: fcn_create() works or fails with a message, and never
 * waits for threads that could not be started. Each limit is tested in its own child process.
 * Argument: a model. */

#include "check.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKED = 0, REFUSED = 1, UNTOLD = 2 };

static int create_and_segment(const char *model, uint32_t threads) {
    static uint8_t pixels[64 * 48 * 3];
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    fcn_options *options = fcn_options_new();
    fcn_mask *mask = fcn_mask_new();
    fcn_segmenter *segmenter = NULL;
    if (options == NULL || mask == NULL) return REFUSED;
    if (fcn_options_set_provider(options, FCN_PROVIDER_CPU) != FCN_OK) return UNTOLD;
    if (fcn_options_set_threads(options, threads) != FCN_OK) return UNTOLD;
    if (fcn_create(model, options, &segmenter) != FCN_OK || fcn_segment(segmenter, &frame, mask) != FCN_OK) {
        return strlen(fcn_last_error()) > 0 ? REFUSED : UNTOLD;
    }
    fcn_free(segmenter);
    return WORKED;
}

static int with_limit(const char *model, uint32_t threads, rlim_t bytes) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {bytes, bytes};
        /* Ends a child that hangs. */
        alarm(600);
        _exit(setrlimit(RLIMIT_AS, &limit) == 0 ? create_and_segment(model, threads) : UNTOLD);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return UNTOLD;
    return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    static const uint32_t threads[] = {1, 4, 12};
    size_t i;
    if (argc != 2) return 2;
    for (i = 0; i < sizeof threads / sizeof *threads; i++) {
        int found[2] = {0, 0};
        rlim_t megabytes;
        for (megabytes = 20; megabytes <= 4000; megabytes += 20 + megabytes / 8) {
            int result = with_limit(argv[1], threads[i], megabytes << 20);
            CHECK(result == WORKED || result == REFUSED);
            if (result <= REFUSED) found[result]++;
        }
        CHECK(found[WORKED] > 0 && found[REFUSED] > 0);
    }
    return report();
}
