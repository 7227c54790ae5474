// fcn.hpp: values come through, failures are exceptions, objects move. Arguments: a model, a folder to write to.

#include <fcn.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

static int failures = 0;

static void check(int line, bool holds, const char *what) {
    if (holds) return;
    failures++;
    std::fprintf(stderr, "line %d: %s does not hold\n", line, what);
}

#define CHECK(...) check(__LINE__, (__VA_ARGS__), #__VA_ARGS__)

/* The call throws fcn::Error with this status and these words. */
template <typename Call>
static bool throws(fcn_status status, const char *words, Call call) {
    try {
        call();
    } catch (const fcn::Error &error) {
        if (error.status() == status && std::strstr(error.what(), words)) return true;
        std::fprintf(stderr, "%s: %s\n", fcn_status_name(error.status()), error.what());
    }
    return false;
}

static_assert(!std::is_copy_constructible<fcn::Segmenter>::value && !std::is_copy_assignable<fcn::Mask>::value, "");
static_assert(std::is_nothrow_move_constructible<fcn::Segmenter>::value, "");
static_assert(std::is_nothrow_move_constructible<fcn::Mask>::value, "");
static_assert(std::is_nothrow_move_assignable<fcn::Options>::value, "");
static_assert(std::is_nothrow_move_assignable<fcn::Image>::value, "");

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const std::string model = argv[1], folder = argv[2];

    CHECK(throws(FCN_ERROR_IO, "missing.onnx", [&] { fcn::Segmenter(folder + "/missing.onnx"); }));
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "257", [] { fcn::Options().threads(257); }));
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "0x8", [] { fcn::Mask mask(8); }));
    CHECK(throws(FCN_ERROR_IO, "missing.png", [&] { fcn::Image(folder + "/missing.png"); }));

    fcn::Options options;
    options.provider(FCN_PROVIDER_CPU).threads(1).sessions(2).device(0).gpu_memory_limit(0).pad();
    options.mean_std({{0.5f, 0.5f, 0.5f}}, {{0.5f, 0.5f, 0.5f}}).class_names({"a", "b", "c", "d", "e"});
    fcn::Segmenter first(model, options);
    fcn::Segmenter segmenter(std::move(first));
    CHECK(segmenter.class_count() == 5 && segmenter.class_name(4) == "e");
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "class 5", [&] { segmenter.class_name(5); }));
    // Pascal VOC's colour of class 1.
    CHECK(segmenter.color(1) == std::array<std::uint8_t, 3>{{128, 0, 0}});
    CHECK(segmenter.provider() == "cpu" && segmenter.provider_reason().empty());
    CHECK(!segmenter.runtime_version().empty() && segmenter.stride() == 8);
    CHECK(segmenter.card_json().find("\"classes\"") != std::string::npos);

    std::vector<std::uint8_t> pixels(40 * 24 * 4);
    for (std::size_t i = 0; i < pixels.size(); i++) pixels[i] = static_cast<std::uint8_t>(i * 7 + i / 50);
    fcn_frame frame = fcn::frame(FCN_FORMAT_BGRA8, pixels.data(), 40, 24);
    fcn::Mask mask(FCN_OUTPUT_CONFIDENCE | FCN_OUTPUT_SCORES);
    CHECK(mask.labels() == nullptr && mask.width() == 0);
    segmenter.segment(frame, mask);
    CHECK(mask.width() == 40 && mask.height() == 24 && mask.classes() == 5);
    CHECK(mask.confidence() != nullptr && mask.scores() != nullptr);
    CHECK(mask.pixels()[0] == static_cast<std::uint64_t>(std::count(mask.labels(), mask.labels() + 40 * 24, 0)));
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "format 0", [&] {
        fcn_frame wrong = frame;
        wrong.format = 0;
        segmenter.segment(wrong, mask);
    }));

    // A turned frame gives turned labels' size, and the mask moves out of the call.
    frame.rotation = 90;
    const fcn::Mask turned = segmenter.segment(frame);
    CHECK(turned.width() == 24 && turned.height() == 40);

    segmenter.overlay(mask, 1.0f, FCN_FORMAT_BGRA8, pixels.data(), 40, 24);
    for (std::size_t i = 0; i < 40 * 24; i++) {
        const auto color = segmenter.color(mask.labels()[i]);
        CHECK(pixels[4 * i] == color[2] && pixels[4 * i + 1] == color[1] && pixels[4 * i + 2] == color[0]);
    }

    fcn::write_png(segmenter, mask, folder + "/mask.png");
    fcn::Image image(folder + "/mask.png");
    CHECK(image.width() == 40 && image.height() == 24);
    CHECK(std::memcmp(image.pixels(), segmenter.color(mask.labels()[0]).data(), 3) == 0);
    image.write_png(folder + "/copy.png");
    CHECK(std::memcmp(fcn::Image(folder + "/copy.png").pixels(), image.pixels(), 40 * 24 * 3) == 0);
    CHECK(segmenter.segment(image.frame()).width() == 40);

    std::ifstream file(model, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    CHECK(fcn::Segmenter::from_memory(bytes.data(), bytes.size()).class_count() == 5);
    segmenter = fcn::Segmenter::from_memory(bytes.data(), bytes.size(), options);
    CHECK(segmenter.class_name(0) == "a");
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
