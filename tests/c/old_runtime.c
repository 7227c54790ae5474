/* The first functions of ONNX Runtime's C API as in version 1.16, which does not have the API
 * version that libfcn requests. */

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} OrtApiBase;

static const void *get_api(uint32_t version) {
    (void)version;
    return NULL;
}

static const char *get_version(void) {
    return "1.16.3";
}

const OrtApiBase *OrtGetApiBase(void);

const OrtApiBase *OrtGetApiBase(void) {
    static const OrtApiBase base = {get_api, get_version};
    return &base;
}
