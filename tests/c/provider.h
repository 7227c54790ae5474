/* Shared by the C test programs that run on a provider given as their last argument. */

#ifndef PROVIDER_H
#define PROVIDER_H

#include <fcn.h>
#include <string.h>

/* Options for the provider that `name` gives, "openvino" or "auto", and two threads. */
static inline fcn_options *options_for(const char *name) {
    fcn_options *options = fcn_options_new();
    if (strcmp(name, "openvino") == 0) fcn_options_set_provider(options, FCN_PROVIDER_OPENVINO);
    fcn_options_set_threads(options, 2);
    return options;
}

#endif
