/* A missing, a wrong and a too old ONNX Runtime, and then the right one in the same process.
 * Arguments: a model, the right library, then pairs of an unusable library and words of its
 * message. */

#include "check.h"

static void failing(const char *model, const char *library, const char *words) {
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL;
    WORKS(fcn_options_set_runtime_library(options, library));
    FAILS(fcn_create(model, options, &segmenter), FCN_ERROR_RUNTIME, words);
    FAILS(fcn_create(model, options, &segmenter), FCN_ERROR_RUNTIME, library);
    CHECK(segmenter == NULL);
    fcn_options_free(options);
}

/* Counts messages by their level. */
static void count(int32_t level, const char *message, void *user) {
    CHECK(level >= FCN_LOG_INFO && level <= FCN_LOG_ERROR);
    CHECK(message[0] != '\0');
    if (level >= FCN_LOG_INFO && level <= FCN_LOG_ERROR) ++((int *)user)[level];
}

int main(int argc, char **argv) {
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL;
    int messages[FCN_LOG_ERROR + 1] = {0}, urgent, i;
    if (argc < 3) return 2;
    for (i = 3; i + 1 < argc; i += 2) failing(argv[1], argv[i], argv[i + 1]);

    WORKS(fcn_options_set_runtime_library(options, argv[2]));
    WORKS(fcn_options_set_log(options, count, messages));
    /* A provider that this build of ONNX Runtime lacks: an error by name, logged with AUTO. */
    WORKS(fcn_options_set_provider(options, FCN_PROVIDER_CUDA));
    FAILS(fcn_create(argv[1], options, &segmenter), FCN_ERROR_PROVIDER, "cuda");
    WORKS(fcn_options_set_provider(options, FCN_PROVIDER_TENSORRT));
    FAILS(fcn_create(argv[1], options, &segmenter), FCN_ERROR_PROVIDER, "tensorrt");
    CHECK(segmenter == NULL);
    /* The lack of a GPU is not a warning. */
    CHECK(messages[FCN_LOG_INFO] == 0);
    urgent = messages[FCN_LOG_WARNING] + messages[FCN_LOG_ERROR];
    WORKS(fcn_options_set_provider(options, FCN_PROVIDER_AUTO));
    WORKS(fcn_create(argv[1], options, &segmenter));
    if (segmenter != NULL) {
        CHECK(strcmp(fcn_segmenter_provider_name(segmenter), "cpu") == 0);
        CHECK(strlen(fcn_segmenter_provider_reason(segmenter)) > 0);
        CHECK(strncmp(fcn_segmenter_runtime_version(segmenter), "1.", 2) == 0);
        CHECK(messages[FCN_LOG_INFO] > 0);
        CHECK(messages[FCN_LOG_WARNING] + messages[FCN_LOG_ERROR] == urgent);
    }
    fcn_free(segmenter);

    segmenter = NULL;
    WORKS(fcn_options_set_provider(options, FCN_PROVIDER_CPU));
    WORKS(fcn_create(argv[1], options, &segmenter));
    CHECK(segmenter != NULL && strcmp(fcn_segmenter_provider_reason(segmenter), "") == 0);
    fcn_free(segmenter);
    fcn_options_free(options);

    /* The process keeps the library that it has loaded. */
    if (argc > 4) failing(argv[1], argv[3], "already loaded");
    return report();
}
