// fcn_ros/image.hpp and contract.hpp with structs of the messages' shapes, against the plain C
// functions.
// Argument: a model.

#include "fcn_ros/contract.hpp"
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

/* vision_msgs/LabelInfo. */
struct LabelInfo {
    struct VisionClass {
        std::uint16_t class_id = 0;
        std::string class_name;
    };
    Header header;
    std::vector<VisionClass> class_map;
    float threshold = 0;
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
    fcn_ros::Parameters parameters;
    parameters.model = argv[1];
    parameters.provider = "cpu";
    fcn::Segmenter segmenter = fcn_ros::segmenter(parameters);
    fcn::Mask mask = fcn_ros::mask(parameters);

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
            CHECK(fcn_mask_set_outputs(plain, FCN_OUTPUT_CONFIDENCE_U8) == FCN_OK);
            const fcn_frame frame = fcn_frame_packed(it.format, image.data.data(), 50, 37, image.step);
            CHECK(fcn_segment(segmenter.get(), &frame, plain) == FCN_OK);

            segmenter.segment(fcn_ros::frame(image), mask);
            Image labels, confidence;
            image.header.frame_id = "camera";
            image.header.stamp.sec = 7;
            fcn_ros::mask_message(mask, image.header, labels);
            fcn_ros::confidence_message(mask, image.header, confidence);
            CHECK(confidence.encoding == "mono8" && confidence.data.size() == 50 * 37 && confidence.step == 50);
            CHECK(confidence.header.stamp.sec == 7 && labels.header.stamp.sec == 7);
            CHECK(std::memcmp(confidence.data.data(), fcn_mask_confidence_u8(plain), 50 * 37) == 0);
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

    LabelInfo info;
    info.class_map.resize(99);
    fcn_ros::label_info_message(segmenter, info);
    CHECK(info.class_map.size() == segmenter.class_count() && info.class_map.size() > 1);
    for (std::size_t index = 0; index < info.class_map.size(); index++) {
        CHECK(info.class_map[index].class_id == index);
        CHECK(info.class_map[index].class_name == segmenter.class_name(static_cast<std::uint32_t>(index)));
    }

    // Nav2's layer subscribes to these, below the namespace.
    CHECK(std::string(fcn_ros::mask_topic) == "segmentation/mask");
    CHECK(std::string(fcn_ros::confidence_topic) == "segmentation/confidence");
    CHECK(std::string(fcn_ros::label_info_topic) == "segmentation/label_info");
    // It takes images as they come and keeps 10 of them; it gets label information however late it
    // starts. A camera's publisher may be best effort.
    const fcn_ros::Qos images = fcn_ros::published_images, info_qos = fcn_ros::label_info, camera = fcn_ros::subscribed_images;
    CHECK(!images.reliable && !images.latched && images.depth >= 1 && images.depth <= 10);
    CHECK(info_qos.reliable && info_qos.latched && info_qos.depth == 1);
    CHECK(!camera.reliable && !camera.latched && camera.depth == 1);

    // Parameters out of range, and the ones just within.
    const auto wrong = [&](const char *words, void (*change)(fcn_ros::Parameters &)) {
        fcn_ros::Parameters changed = parameters;
        change(changed);
        try {
            fcn_ros::segmenter(changed);
            fcn_ros::mask(changed);
        } catch (const std::exception &error) {
            return std::string(error.what()).find(words) != std::string::npos;
        }
        return words[0] == '\0';
    };
    CHECK(wrong("must name an ONNX file", [](fcn_ros::Parameters &it) { it.model.clear(); }));
    CHECK(wrong("provider is 'gpu'", [](fcn_ros::Parameters &it) { it.provider = "gpu"; }));
    CHECK(wrong("precision is 'half'; it must be exact or fast", [](fcn_ros::Parameters &it) { it.precision = "half"; }));
    CHECK(wrong("", [](fcn_ros::Parameters &it) { it.precision = "fast"; }));
    CHECK(fcn_ros::precision("fast") == FCN_PRECISION_FAST && fcn_ros::precision("exact") == FCN_PRECISION_EXACT);
    CHECK(fcn_ros::provider("openvino") == FCN_PROVIDER_OPENVINO && fcn_ros::provider("tensorrt") == FCN_PROVIDER_TENSORRT);
    CHECK(wrong("threads is 257; it must be from 0 to 256", [](fcn_ros::Parameters &it) { it.threads = 257; }));
    CHECK(wrong("width is -1", [](fcn_ros::Parameters &it) { it.width = -1; }));
    CHECK(wrong("height is 32768", [](fcn_ros::Parameters &it) { it.height = 32768; }));
    CHECK(wrong("share is 0", [](fcn_ros::Parameters &it) { it.smoothing = 0; }));
    CHECK(wrong("", [](fcn_ros::Parameters &it) { it.threads = 1, it.width = 64, it.threshold = 1, it.smoothing = 0.5; }));

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
