/* fcn for C++11 and later: fcn.h with destructors and exceptions.
 *
 *     fcn::Segmenter segmenter("street.onnx");
 *     fcn::Mask mask;
 *     fcn_frame frame = fcn::frame(FCN_FORMAT_BGR8, pixels, width, height);
 *     segmenter.segment(frame, mask);              // once per frame, with the same mask
 *     const std::uint8_t *labels = mask.labels();  // height x width class indices
 *
 * Conventions
 *
 *     Manual     fcn.h is the manual: each function there says what its counterpart here does.
 *     Errors     Functions throw fcn::Error if their counterpart returns an error. Those marked
 *                noexcept return 0, nullptr or -1 if there is no value.
 *     Ownership  Objects own their handle: they can be moved, but not copied. A moved-from object
 *                may only be assigned to or destroyed. Pointers returned by an object belong to it,
 *                as in fcn.h. get() returns the handle, for functions of fcn.h.
 *     Threads    As for the handles in fcn.h: any number of threads for Segmenter and Stream, one
 *                at a time for Mask, Options and Image.
 *
 * Header-only: there is no library beside libfcn. */

#ifndef FCN_HPP
#define FCN_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fcn.h"

namespace fcn {

/* An error: what() is the message of fcn_last_error(), status() the kind. */
class Error : public std::runtime_error {
public:
    Error(fcn_status status, const std::string &message) : std::runtime_error(message), status_(status) {}

    fcn_status status() const noexcept { return status_; }

private:
    fcn_status status_;
};

namespace detail {

inline void check(fcn_status status) {
    if (status != FCN_OK) throw Error(status, fcn_last_error());
}

struct Free {
    void operator()(fcn_options *options) const noexcept { fcn_options_free(options); }
    void operator()(fcn_segmenter *segmenter) const noexcept { fcn_free(segmenter); }
    void operator()(fcn_mask *mask) const noexcept { fcn_mask_free(mask); }
    void operator()(fcn_stream *stream) const noexcept { fcn_stream_free(stream); }
    void operator()(fcn_contours *contours) const noexcept { fcn_contours_free(contours); }
#ifdef FCN_WITH_IMAGE
    void operator()(fcn_image *image) const noexcept { fcn_image_free(image); }
#endif
};

template <typename T>
using Handle = std::unique_ptr<T, Free>;

}  // namespace detail

/* Returns the version of the loaded library; FCN_VERSION is the header's. */
inline const char *version() noexcept { return fcn_version(); }

/* Returns the name of a status, for example "FCN_ERROR_IO". */
inline const char *status_name(fcn_status status) noexcept { return fcn_status_name(status); }

/* Returns a frame in one plane. `stride` is in bytes; 0 means no padding, negative means bottom-up.
 * Assign crop, rotation and mirror to the result. */
inline fcn_frame frame(fcn_format format, const void *pixels, std::uint32_t width, std::uint32_t height,
                       std::size_t stride = 0) {
    return fcn_frame_packed(format, pixels, width, height, stride);
}

/* Returns a frame whose planes have separate addresses and strides. */
inline fcn_frame planar(fcn_format format, std::uint32_t width, std::uint32_t height, const void *plane_0,
                        std::size_t stride_0, const void *plane_1 = nullptr, std::size_t stride_1 = 0,
                        const void *plane_2 = nullptr, std::size_t stride_2 = 0) {
    return fcn_frame_planar(format, width, height, plane_0, stride_0, plane_1, stride_1, plane_2, stride_2);
}

/* Returns a frame whose planes follow each other without gaps. */
inline fcn_frame contiguous(fcn_format format, const void *pixels, std::uint32_t width, std::uint32_t height,
                            std::size_t stride = 0) {
    return fcn_frame_contiguous(format, pixels, width, height, stride);
}

/* Translates a format's name in ROS 2, OpenCV, V4L2, GStreamer or FFmpeg. */
inline fcn_format format_from_name(const std::string &name) {
    std::uint32_t format = 0;
    detail::check(fcn_format_from_name(name.c_str(), &format));
    return static_cast<fcn_format>(format);
}

/* Returns the name of a format, for example "NV12". */
inline const char *format_name(fcn_format format) noexcept { return fcn_format_name(format); }

/* Settings for creating a Segmenter, which copies them. Setters can be chained:
 *
 *     fcn::Segmenter segmenter("street.onnx", fcn::Options().provider(FCN_PROVIDER_CPU).threads(4));
 *
 * fcn_options_set_*() document ranges and defaults. */
class Options {
public:
    Options() : handle_(fcn_options_new()) {}

    Options &provider(fcn_provider provider) { return checked(fcn_options_set_provider(get(), provider)); }
    Options &device(std::uint32_t device) { return checked(fcn_options_set_device(get(), device)); }
    Options &openvino_device(const std::string &device) {
        return checked(fcn_options_set_openvino_device(get(), device.c_str()));
    }
    Options &precision(fcn_precision precision) { return checked(fcn_options_set_precision(get(), precision)); }
    Options &threads(std::uint32_t threads) { return checked(fcn_options_set_threads(get(), threads)); }
    Options &sessions(std::uint32_t sessions) { return checked(fcn_options_set_sessions(get(), sessions)); }
    /* Milliseconds; 0 means no limit. */
    Options &timeout(std::uint32_t milliseconds) { return checked(fcn_options_set_timeout(get(), milliseconds)); }
    Options &gpu_memory_limit(std::size_t bytes) { return checked(fcn_options_set_gpu_memory_limit(get(), bytes)); }
    Options &runtime_library(const std::string &path) {
        return checked(fcn_options_set_runtime_library(get(), path.c_str()));
    }
    Options &cache(const std::string &folder) { return checked(fcn_options_set_cache_dir(get(), folder.c_str())); }
    Options &auto_size() { return checked(fcn_options_set_auto_size(get())); }
    Options &native_side(std::uint32_t pixels) { return checked(fcn_options_set_native_side(get(), pixels)); }
    Options &short_side(std::uint32_t pixels) { return checked(fcn_options_set_short_side(get(), pixels)); }
    Options &pad() { return checked(fcn_options_set_pad(get())); }
    Options &resize(std::uint32_t width, std::uint32_t height) {
        return checked(fcn_options_set_resize(get(), width, height));
    }
    Options &tile(std::uint32_t width, std::uint32_t height, std::uint32_t overlap) {
        return checked(fcn_options_set_tile(get(), width, height, overlap));
    }
    Options &mean_std(const std::array<float, 3> &mean, const std::array<float, 3> &std) {
        return checked(fcn_options_set_mean_std(get(), mean.data(), std.data()));
    }
    Options &scale(float scale) { return checked(fcn_options_set_scale(get(), scale)); }
    Options &channel_order(fcn_channel_order order) { return checked(fcn_options_set_channel_order(get(), order)); }
    Options &input_layout(fcn_layout layout) { return checked(fcn_options_set_input_layout(get(), layout)); }
    Options &output(const std::string &name) { return checked(fcn_options_set_output(get(), name.c_str())); }
    Options &output_layout(fcn_layout layout) { return checked(fcn_options_set_output_layout(get(), layout)); }
    Options &output_values(fcn_values values) { return checked(fcn_options_set_output_values(get(), values)); }
    Options &multilabel(float probability) { return checked(fcn_options_set_multilabel(get(), probability)); }
    Options &class_names(const std::vector<std::string> &names) {
        std::vector<const char *> pointers;
        for (const std::string &name : names) pointers.push_back(name.c_str());
        return checked(fcn_options_set_class_names(get(), pointers.data(), pointers.size()));
    }
    /* "voc" or "cityscapes". */
    Options &palette(const std::string &name) { return checked(fcn_options_set_palette(get(), name.c_str())); }
    /* The callback must not throw. It and `user` must outlive every segmenter created with them. */
    Options &log(fcn_log_callback callback, void *user = nullptr) {
        return checked(fcn_options_set_log(get(), callback, user));
    }

    fcn_options *get() const noexcept { return handle_.get(); }

private:
    Options &checked(fcn_status status) {
        detail::check(status);
        return *this;
    }

    detail::Handle<fcn_options> handle_;
};

/* A border of the pixels with one label: see fcn_mask_contours(). */
struct Contour {
    std::vector<fcn_point> points;
    bool hole;
    /* Index of the directly enclosing contour, or -1. */
    std::int64_t parent;
};

/* The result of Segmenter::segment(): one label per pixel, and optional outputs. Reuse one mask for
 * all frames: it keeps its memory. Setters can be chained and affect later frames. One thread at a
 * time.
 *
 *     fcn::Mask mask(FCN_OUTPUT_CONFIDENCE);
 *     mask.set_threshold(0.5f).set_min_region(100);
 *     segmenter.segment(frame, mask); */
class Mask {
public:
    /* `outputs`: FCN_OUTPUT_* combined with `|`. */
    explicit Mask(std::uint32_t outputs = 0) : handle_(fcn_mask_new()) { set_outputs(outputs); }

    /* FCN_OUTPUT_* combined with `|`. */
    Mask &set_outputs(std::uint32_t outputs) { return checked(fcn_mask_set_outputs(get(), outputs)); }
    Mask &set_size(std::uint32_t width, std::uint32_t height) {
        return checked(fcn_mask_set_size(get(), width, height));
    }
    /* The memory must stay valid until the next set_buffer(); nullptr means the mask's own. */
    Mask &set_buffer(std::uint8_t *labels, std::size_t bytes, std::size_t stride = 0) {
        return checked(fcn_mask_set_buffer(get(), labels, bytes, stride));
    }
    Mask &set_threshold(float confidence) { return checked(fcn_mask_set_threshold(get(), confidence)); }
    /* Empty means all classes. */
    Mask &set_classes(const std::vector<std::uint32_t> &classes) {
        return checked(fcn_mask_set_classes(get(), classes.empty() ? nullptr : classes.data(), classes.size()));
    }
    /* Empty means no change of labels. */
    Mask &set_remap(const std::vector<std::uint8_t> &labels) {
        return checked(fcn_mask_set_remap(get(), labels.empty() ? nullptr : labels.data(), labels.size()));
    }
    /* Removes regions of fewer pixels; 0 disables it. */
    Mask &set_min_region(std::uint32_t pixels) { return checked(fcn_mask_set_min_region(get(), pixels)); }
    Mask &set_smoothing(float share) { return checked(fcn_mask_set_smoothing(get(), share)); }
    /* Restarts smoothing. */
    Mask &reset() { return checked(fcn_mask_reset(get())); }

    std::uint32_t width() const noexcept { return fcn_mask_width(get()); }
    std::uint32_t height() const noexcept { return fcn_mask_height(get()); }
    std::uint32_t classes() const noexcept { return fcn_mask_classes(get()); }

    /* Pointers are valid until the next frame is stored in the mask; nullptr before the first frame,
     * and for outputs that were not selected. */
    const std::uint8_t *labels() const noexcept { return fcn_mask_labels(get()); }
    /* Bytes from one row of labels to the next. */
    std::size_t stride() const noexcept { return fcn_mask_stride(get()); }
    const float *confidence() const noexcept { return fcn_mask_confidence(get()); }
    const std::uint8_t *confidence_u8() const noexcept { return fcn_mask_confidence_u8(get()); }
    const float *margin() const noexcept { return fcn_mask_margin(get()); }
    const float *scores() const noexcept { return fcn_mask_scores(get()); }
    const std::uint64_t *pixels() const noexcept { return fcn_mask_pixels(get()); }
    std::uint64_t not_finite() const noexcept { return fcn_mask_not_finite(get()); }

    /* Area, centroid and bounds of the labels 0 to count - 1; `count` is 1 to 256. */
    std::vector<fcn_region> regions(std::size_t count) const {
        std::vector<fcn_region> regions(count);
        detail::check(fcn_mask_regions(get(), regions.data(), count));
        return regions;
    }
    /* regions() without 8-connected groups of fewer than `min_area` pixels. */
    std::vector<fcn_region> regions_filtered(std::uint32_t min_area, std::size_t count) const {
        std::vector<fcn_region> regions(count);
        detail::check(fcn_mask_regions_filtered(get(), min_area, regions.data(), count));
        return regions;
    }
    /* The borders of the pixels with this label, 0 to 255. */
    std::vector<Contour> contours(std::uint32_t label) const {
        fcn_contours *found = nullptr;
        detail::check(fcn_mask_contours(get(), label, &found));
        return list(found);
    }
    /* contours() without regions and holes of fewer than `min_area` pixels. */
    std::vector<Contour> contours_filtered(std::uint32_t label, std::uint32_t min_area) const {
        fcn_contours *found = nullptr;
        detail::check(fcn_mask_contours_filtered(get(), label, min_area, &found));
        return list(found);
    }

    /* Columns and rows of the network's input, including padding; zeros before the first frame. */
    std::pair<std::uint32_t, std::uint32_t> working_size() const {
        std::pair<std::uint32_t, std::uint32_t> size;
        detail::check(fcn_mask_working_size(get(), &size.first, &size.second));
        return size;
    }

    /* Microseconds; zeros before the first frame. */
    fcn_timings timings() const {
        fcn_timings timings;
        detail::check(fcn_mask_timings(get(), &timings));
        return timings;
    }

    fcn_mask *get() const noexcept { return handle_.get(); }

private:
    static std::vector<Contour> list(fcn_contours *found) {
        const detail::Handle<fcn_contours> handle(found);
        std::vector<Contour> contours;
        for (std::size_t index = 0; index < fcn_contours_count(found); index++) {
            std::size_t count = 0;
            const fcn_point *points = fcn_contours_points(found, index, &count);
            contours.push_back({std::vector<fcn_point>(points, points + count), fcn_contours_is_hole(found, index) == 1,
                                fcn_contours_parent(found, index)});
        }
        return contours;
    }

    Mask &checked(fcn_status status) {
        detail::check(status);
        return *this;
    }

    detail::Handle<fcn_mask> handle_;
};

/* A loaded model. Any number of threads may use it at once. */
class Segmenter {
public:
    explicit Segmenter(const std::string &path) : Segmenter(path, nullptr) {}
    Segmenter(const std::string &path, const Options &options) : Segmenter(path, options.get()) {}

    /* From the content of an ONNX file, not needed after the call. */
    static Segmenter from_memory(const void *model, std::size_t length) { return Segmenter(model, length, nullptr); }
    static Segmenter from_memory(const void *model, std::size_t length, const Options &options) {
        return Segmenter(model, length, options.get());
    }

    void segment(const fcn_frame &frame, Mask &mask) const { detail::check(fcn_segment(get(), &frame, mask.get())); }
    Mask segment(const fcn_frame &frame) const {
        Mask mask;
        segment(frame, mask);
        return mask;
    }

    /* Cancels all segment() and warm_up() calls that are running or waiting, and the frames that
     * streams are processing: they throw FCN_ERROR_CANCELLED. Returns at once. */
    void cancel() const { detail::check(fcn_segmenter_cancel(get())); }

    /* Allocates buffers and runs one dummy inference per session, so that the first frame of this
     * size is not slower than later ones. */
    void warm_up(std::uint32_t width, std::uint32_t height) const {
        detail::check(fcn_segmenter_warm_up(get(), width, height));
    }

    /* Blends class colours into an image of the mask's size, in place. `alpha`: opacity, 0 to 1. */
    void overlay(const Mask &mask, float alpha, fcn_format format, void *pixels, std::uint32_t width,
                 std::uint32_t height, std::size_t stride = 0) const {
        detail::check(fcn_overlay(get(), mask.get(), alpha, format, pixels, width, height, stride));
    }

    /* overlay() with outlines and a legend. */
    void overlay(const Mask &mask, const fcn_overlay_style &style, fcn_format format, void *pixels, std::uint32_t width,
                 std::uint32_t height, std::size_t stride = 0) const {
        detail::check(fcn_overlay_styled(get(), mask.get(), &style, format, pixels, width, height, stride));
    }

    /* Index of the background class, which overlays do not draw; -1 if there is none. */
    std::int32_t background() const noexcept { return fcn_segmenter_background(get()); }
    std::uint32_t class_count() const noexcept { return fcn_segmenter_class_count(get()); }
    std::string class_name(std::uint32_t index) const {
        color(index);  // Throws if there is no such class.
        return fcn_segmenter_class_name(get(), index);
    }
    std::array<std::uint8_t, 3> color(std::uint32_t index) const {
        std::array<std::uint8_t, 3> rgb = {{0, 0, 0}};
        detail::check(fcn_segmenter_class_color(get(), index, rgb.data()));
        return rgb;
    }

    /* The colour in overlays, bright enough to be visible over an image. */
    std::array<std::uint8_t, 3> display_color(std::uint32_t index) const {
        std::array<std::uint8_t, 3> rgb = {{0, 0, 0}};
        detail::check(fcn_segmenter_class_display_color(get(), index, rgb.data()));
        return rgb;
    }

    std::string provider() const { return fcn_segmenter_provider_name(get()); }
    /* The format of float32 layers: "float32", "tf32", "bfloat16" or "float16". */
    std::string precision() const { return fcn_segmenter_precision_name(get()); }
    std::string provider_reason() const { return fcn_segmenter_provider_reason(get()); }
    std::string runtime_version() const { return fcn_segmenter_runtime_version(get()); }
    std::uint32_t stride() const noexcept { return fcn_segmenter_model_stride(get()); }
    /* The model card as JSON; "" without a card. */
    std::string card_json() const {
        const char *card = fcn_segmenter_model_card_json(get());
        return card ? card : "";
    }

    fcn_segmenter *get() const noexcept { return handle_.get(); }

private:
    Segmenter(const std::string &path, const fcn_options *options) {
        fcn_segmenter *segmenter = nullptr;
        detail::check(fcn_create(path.c_str(), options, &segmenter));
        handle_.reset(segmenter);
    }
    Segmenter(const void *model, std::size_t length, const fcn_options *options) {
        fcn_segmenter *segmenter = nullptr;
        detail::check(fcn_create_from_memory(model, length, options, &segmenter));
        handle_.reset(segmenter);
    }

    detail::Handle<fcn_segmenter> handle_;
};

/* The outcome of a frame, for the callback of a Stream. */
struct StreamResult {
    fcn_status status;
    /* Valid until the callback returns; nullptr unless status is FCN_OK. */
    const fcn_mask *mask;
    /* As given with the frame. */
    std::int64_t timestamp;
    void *user;

    /* Throws unless status is FCN_OK. */
    void check() const { detail::check(status); }
    const std::uint8_t *labels() const noexcept { return fcn_mask_labels(mask); }
    std::uint32_t width() const noexcept { return fcn_mask_width(mask); }
    std::uint32_t height() const noexcept { return fcn_mask_height(mask); }
};

/* Segments the latest frame of a camera on a thread of its own. Any number of threads may use it at
 * once, including its callback, which may push, stop and destroy it. The segmenter may be destroyed
 * before it.
 *
 *     fcn::Stream stream(segmenter, [](const fcn::StreamResult &result) {
 *         if (result.status == FCN_OK) show(result.labels(), result.timestamp);
 *     });
 *     while (camera_read(frame, timestamp)) stream.push(frame, timestamp); */
class Stream {
public:
    /* Called from the stream's thread, one call at a time. Exceptions that leave it are ignored. It is
     * destroyed with the stream, or when it returns if it destroys the stream itself. */
    using Callback = std::function<void(const StreamResult &)>;

    /* `like`: a mask whose settings the results get. */
    Stream(const Segmenter &segmenter, const Mask &like, Callback callback)
        : callback_(std::make_shared<Receiver>(std::move(callback))) {
        create(segmenter, like.get(), receive, callback_.get());
    }
    Stream(const Segmenter &segmenter, Callback callback)
        : callback_(std::make_shared<Receiver>(std::move(callback))) {
        create(segmenter, nullptr, receive, callback_.get());
    }
    /* Without a callback: fetch results with poll() and wait(). */
    explicit Stream(const Segmenter &segmenter) { create(segmenter, nullptr, nullptr, nullptr); }
    Stream(const Segmenter &segmenter, const Mask &like) { create(segmenter, like.get(), nullptr, nullptr); }

    Stream(Stream &&) noexcept = default;
    Stream &operator=(Stream &&other) noexcept {
        // The old stream is freed before the callback that it calls.
        handle_ = std::move(other.handle_);
        callback_ = std::move(other.callback_);
        return *this;
    }

    /* Queues a copy of the frame. Never blocks on inference. */
    void push(const fcn_frame &frame, std::int64_t timestamp, void *user = nullptr) {
        detail::check(fcn_stream_push(get(), &frame, timestamp, user));
    }
    /* Queues the frame without copying; release(user) must not throw. */
    void push_borrowed(const fcn_frame &frame, std::int64_t timestamp, void *user, fcn_release_callback release) {
        detail::check(fcn_stream_push_borrowed(get(), &frame, timestamp, user, release));
    }
    /* Deadline of frames pushed from now on, in milliseconds; 0 means none. */
    void set_deadline(std::uint32_t milliseconds) { detail::check(fcn_stream_set_deadline(get(), milliseconds)); }

    /* Return whether there was a new result, which is then in `mask`. Throw if the frame failed, and
     * FCN_ERROR_CANCELLED if the stream is stopped and has no more results. */
    bool poll(Mask &mask, std::int64_t *timestamp = nullptr, void **user = nullptr) {
        return found(fcn_stream_poll(get(), mask.get(), timestamp, user));
    }
    bool wait(std::uint32_t milliseconds, Mask &mask, std::int64_t *timestamp = nullptr, void **user = nullptr) {
        return found(fcn_stream_wait(get(), milliseconds, mask.get(), timestamp, user));
    }

    fcn_stream_counters counters() const {
        fcn_stream_counters counters;
        detail::check(fcn_stream_get_counters(get(), &counters));
        return counters;
    }

    void stop() { detail::check(fcn_stream_stop(get())); }

    fcn_stream *get() const noexcept { return handle_.get(); }

private:
    struct Receiver : std::enable_shared_from_this<Receiver> {
        explicit Receiver(Callback callback) : call(std::move(callback)) {}
        Callback call;
    };

    static bool found(fcn_status status) {
        if (status != FCN_ERROR_TIMEOUT) detail::check(status);
        return status == FCN_OK;
    }

    static void receive(void *context, fcn_status status, const fcn_mask *mask, std::int64_t timestamp, void *user) {
        try {
            // Keeps the callback alive if it destroys the stream.
            const std::shared_ptr<Receiver> receiver = static_cast<Receiver *>(context)->shared_from_this();
            receiver->call(StreamResult{status, mask, timestamp, user});
        } catch (...) {
        }
    }

    void create(const Segmenter &segmenter, const fcn_mask *like, fcn_stream_callback callback, void *context) {
        fcn_stream *stream = nullptr;
        detail::check(fcn_stream_create(segmenter.get(), like, callback, context, &stream));
        handle_.reset(stream);
    }

    // In this order, so that the stream is freed first.
    std::shared_ptr<Receiver> callback_;
    detail::Handle<fcn_stream> handle_;
};

#ifdef FCN_WITH_IMAGE

/* A decoded image: RGB, 8 bits per channel, rows without padding. */
class Image {
public:
    /* Reads a JPEG or PNG file. */
    explicit Image(const std::string &path) {
        fcn_image *image = nullptr;
        detail::check(fcn_image_read(path.c_str(), &image));
        handle_.reset(image);
    }

    std::uint32_t width() const noexcept { return fcn_image_width(get()); }
    std::uint32_t height() const noexcept { return fcn_image_height(get()); }
    std::uint8_t *pixels() noexcept { return fcn_image_pixels(get()); }
    const std::uint8_t *pixels() const noexcept { return fcn_image_pixels(get()); }

    /* The image as a frame, which refers to the pixels of this object. */
    fcn_frame frame() const noexcept { return fcn_frame_packed(FCN_FORMAT_RGB8, pixels(), width(), height(), 0); }

    void write_png(const std::string &path) const { detail::check(fcn_image_write_png(get(), path.c_str())); }

    fcn_image *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<fcn_image> handle_;
};

/* Writes a mask to a PNG file with a palette: pixel values are the labels. */
inline void write_png(const Segmenter &segmenter, const Mask &mask, const std::string &path) {
    detail::check(fcn_mask_write_png(segmenter.get(), mask.get(), path.c_str()));
}

#endif  // FCN_WITH_IMAGE

}  // namespace fcn

#endif  // FCN_HPP
