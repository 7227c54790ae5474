/* A forked child can neither use nor free its parent's handle, and neither hurts: not the child, not the parent. Argument:
 * a model. */

#include "check.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static uint8_t pixels[64 * 48 * 3];

int main(int argc, char **argv) {
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL;
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    int round;
    if (argc != 2) return 2;
    WORKS(fcn_options_set_threads(options, 3));
    WORKS(fcn_options_set_sessions(options, 2));
    WORKS(fcn_create(argv[1], options, &segmenter));
    fcn_options_free(options);
    for (round = 0; round < 5; round++) {
        int status = -1;
        pid_t child;
        WORKS(fcn_segment(segmenter, &frame, mask));
        child = fork();
        if (child == 0) {
            /* A child that waits for threads which do not exist is ended, and so noticed. */
            alarm(20);
            FAILS(fcn_segment(segmenter, &frame, mask), FCN_ERROR_RUNTIME, "child");
            FAILS(fcn_warm_up(segmenter, 64, 48), FCN_ERROR_RUNTIME, "child");
            fcn_mask_free(mask);
            fcn_free(segmenter);
            _exit(failures == 0 ? 0 : 1);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    WORKS(fcn_segment(segmenter, &frame, mask));
    fcn_free(segmenter);
    fcn_mask_free(mask);
    return report();
}
