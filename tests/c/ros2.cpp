// fcn_ros/image.hpp with a struct of sensor_msgs/Image's shape, against the plain C functions.
// Argument: a model.

#include "fcn_ros/image.hpp"

#include <string>
#include <vector>

#include "check.hpp"

struct Header {
    struct Stamp {
        std::int32_t sec = 0;
        std::uint32_t nanosec = 0;
    } stamp;
    std::string frame_id;
};

struct Image {
    Header header;
    std::uint32_t height = 0;
    std::uint32_t width = 0;
    std::string encoding;
    std::uint8_t is_bigendian = 0;
    std::uint32_t step = 0;
    std::vector<std::uint8_t> data;
};

/* An image of 50 x 37 pixels, whose rows are `padding` bytes longer than the pixels need. */
static Image make(const char *encoding, std::uint32_t bytes, std::uint32_t padding) {
    Image image;
    image.height = 37;
    image.width = 50;
    image.encoding = encoding;
    image.step = 50 * bytes + padding;
    image.data.resize(static_cast<std::size_t>(image.step) * 37);
    std::uint32_t state = 1;
    for (std::uint8_t &value : image.data) value = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    return image;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    fcn::Segmenter segmenter(argv[1]);
    fcn::Mask mask;

    const struct {
        const char *encoding;
        std::uint32_t bytes, format;
    } cases[] = {
        {"rgb8", 3, FCN_FORMAT_RGB8},   {"bgr8", 3, FCN_FORMAT_BGR8},   {"rgba8", 4, FCN_FORMAT_RGBA8},
        {"bgra8", 4, FCN_FORMAT_BGRA8}, {"mono8", 1, FCN_FORMAT_GRAY8}, {"mono16", 2, FCN_FORMAT_GRAY16},
        {"yuv422", 2, FCN_FORMAT_UYVY}, {"yuv422_yuy2", 2, FCN_FORMAT_YUYV},
    };
    for (const auto &it : cases) {
        for (std::uint32_t padding : {0u, 14u}) {
            Image image = make(it.encoding, it.bytes, padding);
            fcn_mask *plain = fcn_mask_new();
            const fcn_frame frame = fcn_frame_packed(it.format, image.data.data(), 50, 37, image.step);
            CHECK(fcn_segment(segmenter.get(), &frame, plain) == FCN_OK);

            segmenter.segment(fcn_ros::frame(image), mask);
            Image labels;
            labels.header.frame_id = "camera";
            fcn_ros::labels(mask, labels);
            CHECK(labels.encoding == "mono8" && labels.width == 50 && labels.height == 37 && labels.step == 50);
            CHECK(labels.header.frame_id == "camera" && labels.data.size() == 50 * 37);
            CHECK(std::memcmp(labels.data.data(), fcn_mask_labels(plain), 50 * 37) == 0);

            if (it.bytes > 2) {
                Image expected = image;
                fcn_overlay_style style{};
                style.alpha = 0.5f;
                style.outline = 1;
                CHECK(fcn_overlay_styled(segmenter.get(), plain, &style, it.format, expected.data.data(), 50, 37, image.step) ==
                      FCN_OK);
                fcn_ros::overlay(segmenter, mask, 0.5f, 1, image);
                CHECK(image.data == expected.data && image.data != make(it.encoding, it.bytes, padding).data);
            }
            fcn_mask_free(plain);
        }
    }

    // The second plane of nv21 follows the first one.
    Image planes = make("nv21", 1, 14);
    planes.data.resize(64 * (37 + 19), 200);
    for (std::size_t i = 64 * 37; i < planes.data.size(); i++) planes.data[i] = static_cast<std::uint8_t>(i * 7);
    fcn_mask *plain = fcn_mask_new();
    const std::uint8_t *first = planes.data.data();
    const fcn_frame two = fcn_frame_planar(FCN_FORMAT_NV21, 50, 37, first, 64, first + 64 * 37, 64, nullptr, 0);
    CHECK(fcn_segment(segmenter.get(), &two, plain) == FCN_OK);
    segmenter.segment(fcn_ros::frame(planes), mask);
    CHECK(std::memcmp(mask.labels(), fcn_mask_labels(plain), 50 * 37) == 0);
    fcn_mask_free(plain);
    planes.data.pop_back();
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "takes 3584", [&] { fcn_ros::frame(planes); }));
    planes.data.push_back(0);
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "NV21", [&] { fcn_ros::overlay(segmenter, mask, 0.5f, 1, planes); }));
    Image swapped = make("mono16", 2, 0);
    swapped.is_bigendian = 1;
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "is_bigendian", [&] { fcn_ros::frame(swapped); }));

    // Invalid messages: unsupported encoding, data too short, step too short.
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "bayer_rggb8", [] { fcn_ros::frame(make("bayer_rggb8", 1, 0)); }));
    Image image = make("rgb8", 3, 0);
    image.data.pop_back();
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "5549 bytes", [&] { fcn_ros::frame(image); }));
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "5549 bytes", [&] { fcn_ros::overlay(segmenter, mask, 0.5f, 1, image); }));
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "''", [] { fcn_ros::frame(Image()); }));
    Image empty;
    empty.encoding = "rgb8";
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "0 bytes", [&] { fcn_ros::frame(empty); }));
    image = make("rgb8", 3, 0);
    image.step = 149;
    CHECK(throws(FCN_ERROR_INVALID_ARGUMENT, "stride 149", [&] { segmenter.segment(fcn_ros::frame(image), mask); }));
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
