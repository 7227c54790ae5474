/* Creates a segmenter, labels a frame and ends. Arguments: a model, how, and possibly a provider.
 *   free     frees everything
 *   exit     ends without freeing anything
 *   threads  creates while other threads read the environment */

#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "provider.h"

#include <pthread.h>
#include <stdatomic.h>

enum { READERS = 2 };

static uint8_t pixels[64 * 48 * 3];
static atomic_int done = 0;

static void *reads(void *unused) {
    while (!atomic_load(&done)) {
        const char *home = getenv("HOME");
        if (home == NULL || home[0] != '/') abort();
    }
    return unused;
}

int main(int argc, char **argv) {
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    fcn_segmenter *segmenter = NULL;
    fcn_mask *mask = fcn_mask_new();
    pthread_t readers[READERS];
    const int threads = argc >= 3 && strcmp(argv[2], "threads") == 0;
    fcn_options *options = options_for(argc == 4 ? argv[3] : "auto");
    int i;
    if (argc < 3) return 2;
    /* setenv() has allocated the array of variables, and would free it when the array grows. */
    CHECK(setenv("OWN_VARIABLE", "1", 1) == 0);
    for (i = 0; threads && i < READERS; i++) CHECK(pthread_create(&readers[i], NULL, reads, NULL) == 0);
    WORKS(fcn_create(argv[1], options, &segmenter));
    fcn_options_free(options);
    WORKS(fcn_segment(segmenter, &frame, mask));
    atomic_store(&done, 1);
    for (i = 0; threads && i < READERS; i++) pthread_join(readers[i], NULL);
    CHECK(strcmp(getenv("OWN_VARIABLE"), "1") == 0);
    if (strcmp(argv[2], "exit") != 0) {
        fcn_mask_free(mask);
        fcn_free(segmenter);
    }
    return report();
}
