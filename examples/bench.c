/* bench: measures the time to load a model, for its first frame and for each warm frame. Prints
 * JSON.
 *
 *     cc -std=c99 -O2 bench.c -o bench $(pkg-config --cflags --libs fcn)
 *     ./bench MODEL.onnx FRAME.bgr WIDTH HEIGHT THREADS SECONDS LABELS \
 *         [CACHE [PROVIDER [PRECISION]]]
 *
 * FRAME.bgr holds height x width x 3 bytes. Frames are measured for SECONDS, at least one and at
 * most MAX_FRAMES. The labels of the last one are written to the file LABELS, one byte per pixel.
 * CACHE is a folder for optimized networks, or "" for none. PROVIDER is cpu (default), cuda,
 * tensorrt or openvino, PRECISION exact (default) or fast. Used by `make bench` and
 * scripts/bench_providers.py. */

#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fcn.h"

#define MAX_FRAMES 500

typedef struct {
    int count;
    double processor; /* of all threads and frames */
    double milliseconds[MAX_FRAMES];
    fcn_timings steps[MAX_FRAMES];
} measured;

/* Milliseconds of a monotonic clock. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* Milliseconds of processor time of the whole process. */
static double processor_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* The process's peak memory in KiB; 0 if unknown. */
static long peak_memory(void) {
    char line[256];
    long peak = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL) return 0;
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) peak = strtol(line + 6, NULL, 10);
    }
    fclose(status);
    return peak;
}

/* Reads a file of exactly `length` bytes; returns NULL on failure. */
static uint8_t *read_frame(const char *path, size_t length) {
    FILE *file = fopen(path, "rb");
    uint8_t *pixels = malloc(length);
    int whole = file != NULL && pixels != NULL && fread(pixels, 1, length, file) == length && fgetc(file) == EOF;
    if (file != NULL) fclose(file);
    if (whole) return pixels;
    free(pixels);
    return NULL;
}

/* Loads ONNX Runtime from ORT_DYLIB_PATH, as Python's import does before others are measured.
 * Returns the milliseconds, or -1. */
static double load_runtime(void) {
    const char *path = getenv("ORT_DYLIB_PATH");
    double start = now();
    if (path != NULL && dlopen(path, RTLD_NOW) == NULL) return -1;
    return now() - start;
}

/* Warms up for a tenth of `seconds`, then measures frames for `seconds`. */
static fcn_status run(const fcn_segmenter *segmenter, const fcn_frame *frame, fcn_mask *mask, double seconds,
                      measured *result) {
    double begin = now(), end, processor;
    result->count = 0;
    do {
        fcn_status status = fcn_segment(segmenter, frame, mask);
        if (status != FCN_OK) return status;
    } while (now() - begin < 100 * seconds);
    end = now() + 1000 * seconds;
    processor = processor_time();
    do {
        double start = now();
        fcn_status status = fcn_segment(segmenter, frame, mask);
        if (status != FCN_OK) return status;
        result->milliseconds[result->count] = now() - start;
        fcn_mask_timings(mask, &result->steps[result->count++]);
    } while (now() < end && result->count < MAX_FRAMES);
    result->processor = processor_time() - processor;
    return FCN_OK;
}

static void print(double load, double create, double create_processor, double first, long peak,
                  const fcn_segmenter *segmenter, const measured *result) {
    int i;
    printf("{\"version\": \"%s with ONNX Runtime %s\", ", fcn_version(), fcn_segmenter_runtime_version(segmenter));
    printf("\"provider\": \"%s\", \"precision\": \"%s\", ", fcn_segmenter_provider_name(segmenter),
           fcn_segmenter_precision_name(segmenter));
    printf("\"load\": %.3f, \"create\": %.3f, \"create_processor\": %.3f, \"first\": %.3f, \"peak\": %ld, ", load, create,
           create_processor, first, peak);
    printf("\"processor\": %.3f, \"frames\": [", result->processor / result->count);
    for (i = 0; i < result->count; i++) printf("%s%.3f", i ? ", " : "", result->milliseconds[i]);
    printf("], \"steps\": [");
    for (i = 0; i < result->count; i++) {
        const fcn_timings *step = &result->steps[i];
        printf("%s[%" PRIu32 ", %" PRIu32 ", %" PRIu32 "]", i ? ", " : "", step->preprocess, step->inference,
               step->head);
    }
    printf("]}\n");
}

/* Returns -1, which libfcn rejects, for an unknown name. */
static int32_t provider(const char *name) {
    if (strcmp(name, "cpu") == 0) return FCN_PROVIDER_CPU;
    if (strcmp(name, "cuda") == 0) return FCN_PROVIDER_CUDA;
    if (strcmp(name, "tensorrt") == 0) return FCN_PROVIDER_TENSORRT;
    if (strcmp(name, "openvino") == 0) return FCN_PROVIDER_OPENVINO;
    return -1;
}

/* As provider(). */
static int32_t precision(const char *name) {
    if (strcmp(name, "exact") == 0) return FCN_PRECISION_EXACT;
    if (strcmp(name, "fast") == 0) return FCN_PRECISION_FAST;
    return -1;
}

static int failed(const char *what, const char *why) {
    fprintf(stderr, "bench: %s: %s\n", what, why);
    return 1;
}

int main(int argc, char **argv) {
    static measured result;
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL;
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame;
    uint8_t *pixels;
    uint32_t width, height;
    double start, load, create, create_processor, first;
    FILE *labels;

    if (argc < 8 || argc > 11)
        return failed("usage",
                      "bench MODEL.onnx FRAME.bgr WIDTH HEIGHT THREADS SECONDS LABELS [CACHE [PROVIDER [PRECISION]]]");
    width = (uint32_t)strtoul(argv[3], NULL, 10);
    height = (uint32_t)strtoul(argv[4], NULL, 10);
    pixels = read_frame(argv[2], (size_t)width * height * 3);
    if (pixels == NULL) return failed(argv[2], "is not a file of width x height x 3 bytes");
    if (fcn_options_set_provider(options, argc > 9 ? provider(argv[9]) : FCN_PROVIDER_CPU) != FCN_OK ||
        fcn_options_set_precision(options, argc > 10 ? precision(argv[10]) : FCN_PRECISION_EXACT) != FCN_OK ||
        fcn_options_set_threads(options, (uint32_t)strtoul(argv[5], NULL, 10)) != FCN_OK ||
        fcn_options_set_cache_dir(options, argc > 8 && argv[8][0] != '\0' ? argv[8] : NULL) != FCN_OK)
        return failed("options", fcn_last_error());

    load = load_runtime();
    if (load < 0) return failed("ORT_DYLIB_PATH", dlerror());
    start = now();
    create_processor = processor_time();
    if (fcn_create(argv[1], options, &segmenter) != FCN_OK) return failed(argv[1], fcn_last_error());
    create = now() - start;
    create_processor = processor_time() - create_processor;

    frame = fcn_frame_packed(FCN_FORMAT_BGR8, pixels, width, height, 0);
    start = now();
    if (fcn_segment(segmenter, &frame, mask) != FCN_OK) return failed("first frame", fcn_last_error());
    first = now() - start;

    if (run(segmenter, &frame, mask, strtod(argv[6], NULL), &result) != FCN_OK)
        return failed("a warm frame", fcn_last_error());
    print(load, create, create_processor, first, peak_memory(), segmenter, &result);

    labels = fopen(argv[7], "wb");
    if (labels == NULL || fwrite(fcn_mask_labels(mask), width, height, labels) != height || fclose(labels) != 0)
        return failed(argv[7], "the labels cannot be written");
    fcn_mask_free(mask);
    fcn_free(segmenter);
    fcn_options_free(options);
    free(pixels);
    return 0;
}
