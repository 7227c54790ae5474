// fcn.hpp: values are passed through, failures are exceptions, objects move. Arguments: a model, a
// folder to write to.

#include <fcn.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <future>
#include <iterator>
#include <thread>
#include <utility>

#include "check.hpp"

static_assert(!std::is_copy_constructible<fcn::Segmenter>::value && !std::is_copy_assignable<fcn::Mask>::value, "");
static_assert(std::is_nothrow_move_constructible<fcn::Segmenter>::value, "");
static_assert(std::is_nothrow_move_constructible<fcn::Mask>::value, "");
static_assert(std::is_nothrow_move_assignable<fcn::Options>::value, "");
static_assert(std::is_nothrow_move_assignable<fcn::Image>::value, "");
static_assert(std::is_nothrow_move_constructible<fcn::Stream>::value, "");
static_assert(std::is_nothrow_move_assignable<fcn::Stream>::value, "");
static_assert(!std::is_copy_constructible<fcn::Stream>::value, "");

/* Streams: the callback gets each frame, exceptions in it are caught, and it may destroy its
 * stream. */
static void streams(const fcn::Segmenter &segmenter, const fcn_frame &frame) {
    std::promise<int> seen;
    int calls = 0;
    fcn::Stream first(segmenter, fcn::Mask(FCN_OUTPUT_CONFIDENCE), [&](const fcn::StreamResult &result) {
        const bool right = result.width() == 40 && result.height() == 24 && result.labels() != nullptr &&
                           fcn_mask_confidence(result.mask) != nullptr && result.user == &seen;
        if (++calls == 2) seen.set_value(right && result.timestamp == 2 ? calls : -1);
        throw std::runtime_error("not for C");
    });
    fcn::Stream stream(std::move(first));
    stream.push(frame, 1, &seen);
    while (stream.counters().done < 1) std::this_thread::yield();
    stream.push(frame, 2, &seen);
    CHECK(seen.get_future().get() == 2);
    stream.stop();
    CHECK(throws(FCN_ERROR_CANCELLED, "stopped", [&] { stream.push(frame, 3); }));

    std::promise<void> gone;
    std::unique_ptr<fcn::Stream> own;
    std::promise<void> ready;
    std::shared_ptr<int> held = std::make_shared<int>(0);
    const std::weak_ptr<int> watched = held;
    own.reset(new fcn::Stream(segmenter, [&, held](const fcn::StreamResult &result) {
        ready.get_future().wait();
        result.check();
        own.reset();
        ++*held;  // The callback's captures are still alive.
        gone.set_value();
    }));
    held.reset();
    own->push(frame, 0);
    ready.set_value();
    gone.get_future().wait();
    for (int i = 0; i < 600000 && !watched.expired(); i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(own == nullptr && watched.expired());

    fcn::Mask mask;
    std::int64_t timestamp = 0;
    stream = fcn::Stream(segmenter);
    CHECK(!stream.poll(mask) && !stream.wait(2, mask));
    stream.set_deadline(60000);
    std::promise<void> released;
    const auto release = [](void *user) { static_cast<std::promise<void> *>(user)->set_value(); };
    stream.push_borrowed(frame, 4, &released, release);
    CHECK(stream.wait(60000, mask, &timestamp) && timestamp == 4 && mask.width() == 40);
    released.get_future().wait();
    segmenter.cancel();
    CHECK(stream.counters().pushed == 1 && stream.counters().done == 1);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const std::string model = argv[1], folder = argv[2];

    CHECK(throws(FCN_ERROR_IO, "missing.onnx", [&] { fcn::Segmenter(folder + "/missing.onnx"); }));
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "257", [] { fcn::Options().threads(257); }));
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "0x10", [] { fcn::Mask mask(16); }));
    CHECK(throws(FCN_ERROR_IO, "missing.png", [&] { fcn::Image(folder + "/missing.png"); }));

    CHECK(std::strcmp(fcn::version(), FCN_VERSION) == 0);
    CHECK(std::strcmp(fcn::format_name(FCN_FORMAT_NV12), "NV12") == 0);
    CHECK(std::strcmp(fcn::status_name(FCN_ERROR_IO), "FCN_ERROR_IO") == 0);

    fcn::Options options;
    options.provider(FCN_PROVIDER_CPU).threads(1).sessions(2).device(0).gpu_memory_limit(0).timeout(60000).pad();
    options.mean_std({{0.5f, 0.5f, 0.5f}}, {{0.5f, 0.5f, 0.5f}}).class_names({"a", "b", "c", "d", "e"});
    fcn::Segmenter first(model, options);
    fcn::Segmenter segmenter(std::move(first));
    CHECK(segmenter.class_count() == 5 && segmenter.class_name(4) == "e");
    CHECK(segmenter.background() == -1);
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

    streams(segmenter, frame);

    // One block of memory, and the same planes by pointer.
    const fcn_format nv12 = fcn::format_from_name("NV12");
    fcn_frame block = fcn::contiguous(nv12, pixels.data(), 40, 24);
    fcn_frame planes = fcn::planar(nv12, 40, 24, pixels.data(), 40, pixels.data() + 40 * 24, 40);
    block.matrix = planes.matrix = FCN_MATRIX_BT709;
    const fcn::Mask one = segmenter.segment(block), other = segmenter.segment(planes);
    CHECK(std::equal(one.labels(), one.labels() + 40 * 24, other.labels()));
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "bayer_rggb8", [] { fcn::format_from_name("bayer_rggb8"); }));

    // A rotated frame swaps the sides of the labels, and the mask is returned by move.
    frame.rotation = 90;
    const fcn::Mask turned = segmenter.segment(frame);
    CHECK(turned.width() == 24 && turned.height() == 40);

    segmenter.overlay(mask, 1.0f, FCN_FORMAT_BGRA8, pixels.data(), 40, 24);
    for (std::size_t i = 0; i < 40 * 24; i++) {
        const auto color = segmenter.display_color(mask.labels()[i]);
        CHECK(pixels[4 * i] == color[2] && pixels[4 * i + 1] == color[1] && pixels[4 * i + 2] == color[0]);
    }

    // Mask settings.
    std::vector<std::uint8_t> memory(64 * 50, 77);
    fcn::Mask chosen(FCN_OUTPUT_CONFIDENCE_U8 | FCN_OUTPUT_MARGIN);
    chosen.set_size(60, 50).set_buffer(memory.data(), memory.size(), 64).set_classes({1, 3}).set_smoothing(0.5f);
    chosen.set_remap({0, 0, 0, 1, 0}).set_threshold(0.0f);
    segmenter.segment(frame, chosen);
    CHECK(chosen.width() == 60 && chosen.height() == 50 && chosen.stride() == 64 && chosen.labels() == memory.data());
    CHECK(chosen.confidence_u8() != nullptr && chosen.margin() != nullptr && chosen.confidence() == nullptr);
    const std::vector<fcn_region> regions = chosen.regions(2);
    CHECK(regions.size() == 2 && regions[0].pixels + regions[1].pixels == 60 * 50);
    const std::vector<fcn::Contour> contours = chosen.contours(memory[0]);
    CHECK(!contours.empty() && !contours[0].hole && contours[0].parent == -1);
    CHECK(!contours[0].points.empty() && contours[0].points[0].x == 0 && contours[0].points[0].y == 0);
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "label 256", [&] { chosen.contours(256); }));

    // Without specks; if all regions are too small, one is left.
    CHECK(chosen.regions_filtered(0, 2)[1].pixels == regions[1].pixels);
    CHECK(chosen.contours_filtered(memory[0], 1).size() == contours.size());
    CHECK(chosen.contours_filtered(memory[0], 60 * 50 + 1).empty());
    chosen.set_min_region(60 * 50 + 1);
    segmenter.segment(frame, chosen);
    const std::vector<fcn_region> one_region = chosen.regions_filtered(60 * 50, 2);
    CHECK(one_region[0].pixels + one_region[1].pixels == 60 * 50 && one_region[0].pixels % (60 * 50) == 0);
    CHECK(chosen.contours_filtered(memory[0], 60 * 50).size() == 1 && chosen.pixels()[memory[0]] == 60 * 50);
    chosen.set_min_region(0);
    chosen.set_classes({}).set_remap({}).set_buffer(nullptr, 0).set_size(0, 0).reset();
    CHECK(chosen.labels() == nullptr);
    segmenter.segment(frame, chosen);
    CHECK(chosen.width() == 24 && chosen.stride() == 24 && chosen.labels() != nullptr);
    std::vector<std::uint8_t> drawn(24 * 40 * 4, 9);
    fcn_overlay_style style = {};
    style.outline = 1;
    style.legend = 1;
    segmenter.overlay(chosen, style, FCN_FORMAT_BGRA8, drawn.data(), 24, 40);
    CHECK(drawn[3] == 9 && std::count(drawn.begin(), drawn.end(), 9) < 24 * 40 * 4);
    CHECK(fcn::Segmenter(model, fcn::Options().palette("cityscapes")).color(0) ==
          std::array<std::uint8_t, 3>{{128, 64, 128}});

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
