/* Threads sleep while no frame is segmented: the process then uses no processor time. Arguments: a
 * model, and the provider. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "provider.h"

#include <time.h>

enum { WIDTH = 256, HEIGHT = 256 };

static uint8_t pixels[WIDTH * HEIGHT * 3];

/* The processor time of all threads so far, in milliseconds. */
static double used(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    const struct timespec pause = {1, 0};
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, WIDTH, HEIGHT, 0);
    fcn_options *options = options_for(argc == 3 ? argv[2] : "auto");
    fcn_segmenter *segmenter = NULL;
    fcn_mask *mask = fcn_mask_new();
    double before;
    int i;
    if (argc != 3) return 2;
    WORKS(fcn_create(argv[1], options, &segmenter));
    fcn_options_free(options);
    for (i = 0; i < 5; i++) WORKS(fcn_segment(segmenter, &frame, mask));
    before = used();
    nanosleep(&pause, NULL);
    /* A single spinning thread would use most of the second, even on a busy machine a tenth. */
    CHECK(used() - before < 50);
    fcn_mask_free(mask);
    fcn_free(segmenter);
    return report();
}
