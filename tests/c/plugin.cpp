// A library that uses libfcn in a constructor, while dlopen() loads it: threads that are started
// there wait for the loader until it returns, so nothing may wait for them. Environment: MODEL.
#include <cstdlib>
#include <fcn.hpp>
#include <vector>

namespace {

struct Uses {
    fcn::Segmenter kept;
    bool ok;

    explicit Uses(const char *model)
        : kept(model, fcn::Options().provider(FCN_PROVIDER_CPU).threads(3).sessions(2).timeout(60000)), ok(false) {
        std::vector<uint8_t> pixels(64 * 48 * 3);
        const fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels.data(), 64, 48, 0);
        kept.warm_up(64, 48);
        fcn::Mask mask;
        kept.segment(frame, mask);
        {
            fcn::Segmenter freed(model, fcn::Options().provider(FCN_PROVIDER_CPU).threads(3));
            freed.segment(frame, mask);
        }
        fcn_stream *stream = nullptr;
        if (fcn_stream_create(kept.get(), nullptr, nullptr, nullptr, &stream) != FCN_OK) return;
        ok = fcn_stream_set_deadline(stream, 60000) == FCN_OK && fcn_stream_push(stream, &frame, 1, nullptr) == FCN_OK &&
             fcn_stream_stop(stream) == FCN_OK;
        fcn_stream_free(stream);
    }
};

const Uses uses(std::getenv("MODEL"));

}  // namespace

extern "C" int plugin_works();

extern "C" int plugin_works() {
    if (!uses.ok) return 0;
    std::vector<uint8_t> pixels(64 * 48 * 3);
    const fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels.data(), 64, 48, 0);
    fcn::Mask mask;
    uses.kept.segment(frame, mask);
    return mask.width() == 64;
}
