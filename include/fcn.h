/* fcn: labels every pixel of a camera frame with a fully convolutional network.
 *
 *     fcn_segmenter *segmenter = NULL;
 *     if (fcn_create("street.onnx", NULL, &segmenter) != FCN_OK) {
 *         fprintf(stderr, "%s\n", fcn_last_error());
 *         return 1;
 *     }
 *     fcn_mask *mask = fcn_mask_new();
 *     fcn_frame frame = fcn_frame_packed(FCN_FORMAT_BGR8, pixels, width, height, stride);
 *     fcn_segment(segmenter, &frame, mask);           // as often as frames come
 *     const uint8_t *labels = fcn_mask_labels(mask);  // width x height class indices
 *     fcn_mask_free(mask);
 *     fcn_free(segmenter);
 *
 * Create, segment, free; everything else is optional. What can fail returns a status, and fcn_last_error() has the
 * sentence. Results are written only on success. Functions that return a value answer 0 or NULL where there is none.
 * "Safety" names what the caller must keep to: the library cannot check it. The library never prints, and never touches
 * signals, locale or working directory.
 *
 * Generated from the Rust sources in src/ffi by cbindgen: change those, then call `make header`. */

#ifndef FCN_H
#define FCN_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; fcn_version() tells that of the library. */
#define FCN_VERSION_MAJOR 0
#define FCN_VERSION_MINOR 1
#define FCN_VERSION_PATCH 0
#define FCN_VERSION "0.1.0"

/* Define FCN_WITHOUT_IMAGE where libfcn was built without its cargo feature `image`. */
#ifndef FCN_WITHOUT_IMAGE
#define FCN_WITH_IMAGE 1
#endif

/// What a function answers: FCN_OK, or the kind of failure. fcn_last_error() has the sentence that goes with it.
///
/// The numbers never change and are never used again for something else. Later versions may add some.
enum fcn_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// It worked.
    FCN_OK = 0,
    /// An argument that must not be NULL is NULL.
    FCN_ERROR_NULL_ARGUMENT = 1,
    /// An argument is outside its documented range.
    FCN_ERROR_INVALID_ARGUMENT = 2,
    /// The pixel format, or the kind of image file, is not one that this version takes.
    FCN_ERROR_UNSUPPORTED_FORMAT = 3,
    /// A file could not be read or written.
    FCN_ERROR_IO = 4,
    /// The model file is broken, or is no segmentation network.
    FCN_ERROR_MODEL = 5,
    /// ONNX Runtime is missing, too old, or failed while running.
    FCN_ERROR_RUNTIME = 6,
    /// The execution provider that was asked for does not work here.
    FCN_ERROR_PROVIDER = 7,
    /// Memory for a picture of this size could not be had.
    FCN_ERROR_OUT_OF_MEMORY = 8,
    /// A defect in this library; please report the message.
    FCN_ERROR_INTERNAL = 9,
    /// fcn_segmenter_cancel() ended the call, or the stream is stopped.
    FCN_ERROR_CANCELLED = 10,
    /// There was no result within the time given: by fcn_options_set_timeout(), which is also for fcn_create(),
    /// fcn_stream_set_deadline() or fcn_stream_wait().
    FCN_ERROR_TIMEOUT = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_status fcn_status;
#else
typedef int32_t fcn_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How the bytes of a picture are laid out. fcn_format_from_name() knows what others call these formats.
///
/// NV12, NV21, YUYV, UYVY and those that begin with I or J are Y'CbCr (also called YUV): neighbouring pixels share
/// samples of colour, from the left and from the top on; a row or column that is left over has its own. Each pixel takes
/// the sample that it shares, without interpolation.
enum fcn_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// 3 bytes: red, green, blue.
    FCN_FORMAT_RGB8 = 1,
    /// 3 bytes: blue, green, red (OpenCV's order).
    FCN_FORMAT_BGR8 = 2,
    /// 4 bytes: red, green, blue, alpha; alpha is not looked at.
    FCN_FORMAT_RGBA8 = 3,
    /// 4 bytes: blue, green, red, alpha; alpha is not looked at.
    FCN_FORMAT_BGRA8 = 4,
    /// 1 byte: grey, used for all three channels.
    FCN_FORMAT_GRAY8 = 5,
    /// 4 bytes: red, green, blue, and one that is not looked at.
    FCN_FORMAT_RGBX8 = 6,
    /// 4 bytes: blue, green, red, and one that is not looked at.
    FCN_FORMAT_BGRX8 = 7,
    /// 2 bytes, the low one first: grey from 0 to 65535. The high byte counts, so a camera's 10 or 12 bits must be
    /// shifted up.
    FCN_FORMAT_GRAY16 = 8,
    /// Two planes: Y, and for each 2 x 2 pixels Cb and Cr.
    FCN_FORMAT_NV12 = 9,
    /// Two planes: Y, and for each 2 x 2 pixels Cr and Cb.
    FCN_FORMAT_NV21 = 10,
    /// Three planes: Y, and for each 2 x 2 pixels one of Cb and one of Cr. Exchange the last two for YV12.
    FCN_FORMAT_I420 = 11,
    /// 4 bytes for each 2 x 1 pixels: Y, Cb, Y, Cr. The row of an odd width ends with a whole group of 4.
    FCN_FORMAT_YUYV = 12,
    /// 4 bytes for each 2 x 1 pixels: Cb, Y, Cr, Y. The row of an odd width ends with a whole group of 4.
    FCN_FORMAT_UYVY = 13,
    /// Three planes: Y, and for each 2 x 1 pixels one of Cb and one of Cr.
    FCN_FORMAT_I422 = 14,
    /// Three planes: Y, and for each 1 x 2 pixels (two rows) one of Cb and one of Cr.
    FCN_FORMAT_I440 = 15,
    /// Three planes: Y, Cb and Cr of each pixel.
    FCN_FORMAT_I444 = 16,
    /// As FCN_FORMAT_I420, in full range whatever `range` says: FFmpeg's yuvj420p.
    FCN_FORMAT_J420 = 17,
    /// As FCN_FORMAT_I422, in full range whatever `range` says: FFmpeg's yuvj422p.
    FCN_FORMAT_J422 = 18,
    /// As FCN_FORMAT_I440, in full range whatever `range` says: FFmpeg's yuvj440p.
    FCN_FORMAT_J440 = 19,
    /// As FCN_FORMAT_I444, in full range whatever `range` says: FFmpeg's yuvj444p.
    FCN_FORMAT_J444 = 20,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_format fcn_format;
#else
typedef uint32_t fcn_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How red, green and blue were weighed when a picture became Y'CbCr.
enum fcn_matrix
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// ITU-R BT.601: JPEG, most webcams, standard definition.
    FCN_MATRIX_BT601 = 0,
    /// ITU-R BT.709: high definition.
    FCN_MATRIX_BT709 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_matrix fcn_matrix;
#else
typedef uint32_t fcn_matrix;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Which of the 256 values a Y'CbCr picture uses.
enum fcn_range
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Y from 16 to 235, Cb and Cr from 16 to 240: video.
    FCN_RANGE_LIMITED = 0,
    /// 0 to 255: JPEG, and webcams that decode it.
    FCN_RANGE_FULL = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_range fcn_range;
#else
typedef uint32_t fcn_range;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What a mask holds beside the labels: bits for fcn_mask_set_outputs(). Each costs time and memory.
enum fcn_output
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// The highest softmax probability of each pixel: fcn_mask_confidence().
    FCN_OUTPUT_CONFIDENCE = 1,
    /// The scores of each class at each pixel: fcn_mask_scores().
    FCN_OUTPUT_SCORES = 2,
    /// The highest softmax probability of each pixel in a byte: fcn_mask_confidence_u8().
    FCN_OUTPUT_CONFIDENCE_U8 = 4,
    /// How far the highest softmax probability is above the second highest: fcn_mask_margin().
    FCN_OUTPUT_MARGIN = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_output fcn_output;
#else
typedef uint32_t fcn_output;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Where the network runs.
enum fcn_provider
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// CUDA where it works, else the CPU; fcn_segmenter_provider_reason() tells why. The default.
    FCN_PROVIDER_AUTO = 0,
    /// The CPU.
    FCN_PROVIDER_CPU = 1,
    /// An NVIDIA GPU through CUDA; fcn_create() fails with FCN_ERROR_PROVIDER where that does not work.
    FCN_PROVIDER_CUDA = 2,
    /// An NVIDIA GPU through TensorRT; fcn_create() fails with FCN_ERROR_PROVIDER where that does not work.
    FCN_PROVIDER_TENSORRT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_provider fcn_provider;
#else
typedef int32_t fcn_provider;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How urgent a message to the log callback is.
enum fcn_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// What the library decided, for example which provider runs.
    FCN_LOG_INFO = 0,
    /// Something that works, but not as well as it could.
    FCN_LOG_WARNING = 1,
    /// Something that failed.
    FCN_LOG_ERROR = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_log_level fcn_log_level;
#else
typedef int32_t fcn_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// In which order a network takes the colours of a pixel.
enum fcn_channel_order
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// What the model's card says; without a card RGB. The default.
    FCN_CHANNELS_AUTO = 0,
    /// Red, green, blue.
    FCN_CHANNELS_RGB = 1,
    /// Blue, green, red.
    FCN_CHANNELS_BGR = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_channel_order fcn_channel_order;
#else
typedef int32_t fcn_channel_order;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// In which order the dimensions of a network's input or output come.
enum fcn_layout
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// What the model's shapes tell. The default.
    FCN_LAYOUT_AUTO = 0,
    /// Channels before rows and columns, as PyTorch orders them: N x C x H x W.
    FCN_LAYOUT_NCHW = 1,
    /// Channels last, as TensorFlow orders them: N x H x W x C.
    FCN_LAYOUT_NHWC = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_layout fcn_layout;
#else
typedef int32_t fcn_layout;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What the scores of a network are.
enum fcn_values
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Probabilities behind a softmax or a sigmoid, else logits. The default.
    FCN_VALUES_AUTO = 0,
    /// Logits: any number; softmax, or sigmoid for a single one, makes probabilities of them.
    FCN_VALUES_LOGITS = 1,
    /// Probabilities, 0 to 1.
    FCN_VALUES_PROBABILITIES = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fcn_values fcn_values;
#else
typedef int32_t fcn_values;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// The borders of the pixels that have one label. Made by fcn_mask_contours() or fcn_mask_contours_filtered(), freed by fcn_contours_free(); independent of the mask.
/// Threads may read them together.
typedef struct fcn_contours fcn_contours;

#if defined(FCN_WITH_IMAGE)
/// A picture in memory: RGB, 8 bits a channel, rows without padding (FCN_FORMAT_RGB8, stride 0). Made by
/// fcn_image_read(), freed by fcn_image_free(). Threads may read it together; one that writes must be alone.
typedef struct fcn_image fcn_image;
#endif

/// The labels of a frame, and what else was asked for. Made by fcn_mask_new(), freed by fcn_mask_free(). Use one mask
/// again for every frame: its memory is kept, and sizes may change from frame to frame.
///
/// One thread at a time may use a mask; give each thread its own. What its functions point to belongs to the mask and
/// stays until the next fcn_segment() into it, or until it is freed. A call that fails leaves it as it was. What the setters
/// choose holds for later calls of fcn_segment(); what the mask holds now stays.
typedef struct fcn_mask fcn_mask;

/// How a segmenter is made. Made by fcn_options_new(), freed by fcn_options_free(), which may be as soon as
/// fcn_create() has returned: options are copied. One thread at a time may use them.
///
/// Each setter checks its values at once; one that fails leaves the options as they were.
typedef struct fcn_options fcn_options;

/// A model, ready to run. Made by fcn_create() or fcn_create_from_memory(), freed by fcn_free().
///
/// Any thread may use it, several at once: calls of fcn_segment() take turns on its sessions. Only fcn_free() must be
/// alone. The strings its functions return belong to it and stay until it is freed. After fork(), the child must make its
/// own: with the parent's, fcn_segment() is FCN_ERROR_RUNTIME.
typedef struct fcn_segmenter fcn_segmenter;

/// A thread that labels the latest frame: push frames as fast as they come, and get results that are as fresh as the
/// network allows. Made by fcn_stream_create(), freed by fcn_stream_free().
///
/// ```c
/// static void labelled(void *context, fcn_status status, const fcn_mask *mask, int64_t timestamp, void *user);
///
/// fcn_stream_create(segmenter, NULL, labelled, NULL, &stream);
/// while (camera_read(&frame, &timestamp)) fcn_stream_push(stream, &frame, timestamp, NULL);
/// fcn_stream_free(stream);
/// ```
///
/// One frame at most waits; a newer one replaces it. So a result is never older than the time of two frames through the
/// network, however fast frames come. Several streams may share a segmenter, which then should have as many sessions.
///
/// Any thread may use a stream, several at once, also its callback: it may push, stop the stream and free it. After
/// fork() the child cannot use its parent's streams; freeing them there does nothing.
///
/// A function that is called with a stream that another thread has just freed returns FCN_ERROR_CANCELLED: handles are used again
/// only after 1024 other streams were freed. Do not rely on it to free a stream twice.
typedef struct fcn_stream fcn_stream;

/// Receives a message: its level (one of FCN_LOG_*), its text in UTF-8, and the pointer given to
/// fcn_options_set_log(). The text is only valid during the call.
///
/// It is called from whichever thread has something to say, also from several at once. It must return: no C++
/// exception and no longjmp may leave it. It must not call functions of this library on the same segmenter.
typedef void (*fcn_log_callback)(int32_t level, const char *message, void *user);

/// A rectangle of pixels inside a frame. All zero means the whole frame.
typedef struct {
    /// The leftmost column.
    uint32_t x;
    /// The topmost row.
    uint32_t y;
    /// Columns.
    uint32_t width;
    /// Rows.
    uint32_t height;
} fcn_rect;

/// A picture in the caller's memory, which the library only borrows during a call. Made by fcn_frame_packed(),
/// fcn_frame_planar() or fcn_frame_contiguous(), or by hand: set all of it to zero first. This struct is frozen: later
/// versions of the library keep its layout.
///
/// The order is crop, rotation, mirror: the crop is in pixels of the picture as it lies in memory, and the mask comes
/// out as the picture looks after all three. None of them copies the picture. A crop may lie anywhere, also between pixels
/// that share a sample of colour.
///
/// Owned by whoever made it; there is nothing to free. Threads may share it as long as nobody writes to the pixels.
typedef struct {
    /// The first sample of each plane that the format has; the others must be NULL.
    const void *planes[3];
    /// The distance in bytes from one row to the next, for each plane; 0 means rows without padding. The last row of a
    /// plane may end without padding. Where rows lie upwards in memory (bottom-up pictures, FFmpeg's negative `linesize`), the plane
    /// is the address of the picture's first row, which is the last one in memory, and the distance a negative number,
    /// converted to size_t. Each plane has its own direction.
    size_t strides[3];
    /// Columns, 1 to 32767.
    uint32_t width;
    /// Rows, 1 to 32767.
    uint32_t height;
    /// One of FCN_FORMAT_*.
    uint32_t format;
    /// The part of the picture to look at; all zero means the whole picture.
    fcn_rect crop;
    /// How far the picture is turned clockwise, in degrees: 0, 90, 180 or 270.
    uint32_t rotation;
    /// 1 exchanges left and right, after the rotation; 0 does not.
    uint32_t mirror;
    /// One of FCN_MATRIX_*, for Y'CbCr; other formats do not look at it.
    uint32_t matrix;
    /// One of FCN_RANGE_*, for Y'CbCr; other formats, and FCN_FORMAT_J*, do not look at it.
    uint32_t range;
    /// Must be zero.
    uint32_t reserved[4];
} fcn_frame;

/// The pixels that have one label. Filled by fcn_mask_regions().
typedef struct {
    /// How many there are.
    uint64_t pixels;
    /// The mean of their columns, where 0 is the middle of the leftmost; 0 where there are no pixels.
    double x;
    /// The mean of their rows, where 0 is the middle of the topmost; 0 where there are no pixels.
    double y;
    /// The smallest rectangle that holds them all; all zero where there are none.
    fcn_rect bounds;
} fcn_region;

/// How long the steps of a frame took, in microseconds. Filled by fcn_mask_timings().
typedef struct {
    /// From the frame to the network's input.
    uint32_t preprocess;
    /// The network itself, in ONNX Runtime.
    uint32_t inference;
    /// From the network's answer to labels.
    uint32_t head;
    /// All of it, and the wait for a free session before.
    uint32_t total;
} fcn_timings;

/// Receives what became of a frame that was not dropped: `context` as given to fcn_stream_create(), `timestamp` and `user`
/// as given with the frame. `mask` holds the result where `status` is FCN_OK, and stays only until the callback returns;
/// else it is NULL and fcn_last_error() has the sentence: FCN_ERROR_TIMEOUT for a frame that was late, FCN_ERROR_CANCELLED
/// after fcn_segmenter_cancel().
///
/// It is called from the stream's own thread, one call at a time, and no frame is in work meanwhile. It may use any function
/// of this library. It must return: no C++ exception and no longjmp may leave it.
typedef void (*fcn_stream_callback)(void *context,
                                    fcn_status status,
                                    const fcn_mask *mask,
                                    int64_t timestamp,
                                    void *user);

/// Gives back the pixels of a frame: `user` as given with the frame. It is called from whichever thread is done with the
/// frame, and must return, as fcn_stream_callback.
typedef void (*fcn_release_callback)(void *user);

/// What became of the frames of a stream. Filled by fcn_stream_get_counters(). `pushed` is the sum of the others and of the at
/// most two frames that wait or are in work.
typedef struct {
    /// Frames that the stream has taken.
    uint64_t pushed;
    /// Frames that a newer one replaced before they were begun, or that had no result when the stream stopped.
    uint64_t dropped;
    /// Frames with a result.
    uint64_t done;
    /// Frames whose deadline passed before they had a result.
    uint64_t late;
    /// Frames that failed for another reason.
    uint64_t failed;
} fcn_stream_counters;

/// A pixel: (0, 0) is the upper left one.
typedef struct {
    /// The column.
    uint32_t x;
    /// The row.
    uint32_t y;
} fcn_point;

/// How fcn_overlay_draw_styled() draws. Set all of it to zero first. This struct is frozen: later versions of the library keep
/// its layout. Owned by whoever made it; there is nothing to free.
typedef struct {
    /// How much of the classes' colours is blended in: 0 leaves the picture, 1 paints over it.
    float alpha;
    /// Pixels with another label within this many columns or rows are painted in the full colour of their class, 0 to
    /// 64; 0 means no outlines.
    uint32_t outline;
    /// 1 lists the colours and names of the classes that the mask shows in a box at the upper left; 0 does not. The text is
    /// 8 pixels high for each 240 of the picture's shorter side; what does not fit is left out.
    uint32_t legend;
    /// Must be zero.
    uint32_t reserved[5];
} fcn_overlay_style;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The sentence that tells what went wrong in the last call that failed on this thread, in UTF-8: it names the value
/// and the bound it broke.
///
/// Never NULL; "" where nothing has failed yet. The library owns it; it stays as it is until the next call that fails
/// on this thread.
const char *fcn_last_error(void);

/// The name of a status, for example "FCN_ERROR_IO"; "unknown status" for any other number. Never NULL, never freed.
const char *fcn_status_name(int32_t status);

/// The version of the library that is running, for example "0.1.0"; FCN_VERSION is that of the header. Never NULL,
/// never freed.
const char *fcn_version(void);

/// Options with their defaults, which suit most programs. Free them with fcn_options_free().
fcn_options *fcn_options_new(void);

/// Frees options. NULL is fine.
///
/// # Safety
/// `options` is NULL or comes from fcn_options_new(), was not freed before, and no thread uses it.
void fcn_options_free(fcn_options *options);

/// Where the network runs: one of FCN_PROVIDER_*. The default is FCN_PROVIDER_AUTO. A provider asked for by name
/// either runs or makes fcn_create() fail: none replaces another in silence.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_provider(fcn_options *options, int32_t provider);

/// Which GPU, counted from 0; at most 1023. The default is 0. The CPU does not look at it.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_device(fcn_options *options, uint32_t device);

/// Threads that work on one frame, 1 to 256; 0, the default, means one for each CPU that this process may run on.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_threads(fcn_options *options, uint32_t threads);

/// How many frames can be in work at once, 1 to 64; 0, the default, means 1. Further calls of fcn_segment() wait for
/// their turn. Each session has its own memory, and its own copy of the weights.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_sessions(fcn_options *options, uint32_t sessions);

/// The longest time in milliseconds that fcn_segment() may take, the wait for a free session included; then it fails with
/// FCN_ERROR_TIMEOUT and the segmenter is as usable as before. 0, the default, means no limit.
///
/// Checked before each run, between layers and between tiles. A layer in progress is not interrupted: one large enough exceeds
/// the time by as long as it takes, and the message then says how long. A frame whose inference has finished still returns its
/// result. fcn_segmenter_warm_up() has no limit.
///
/// The same time, but at least 10 seconds, limits fcn_create(): see there.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_timeout(fcn_options *options,
                                   uint32_t milliseconds);

/// At most this many bytes of GPU memory for each session; 0, the default, means no limit.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_gpu_memory_limit(fcn_options *options, size_t bytes);

/// The file of ONNX Runtime's library. Without it, or with NULL, the environment variable ORT_DYLIB_PATH, the folder
/// of libfcn and the system are searched in this order. The process keeps the one that its first segmenter loads;
/// asking for another one later is FCN_ERROR_RUNTIME.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `path` is NULL or a NUL-terminated string.
fcn_status fcn_options_set_runtime_library(fcn_options *options, const char *path);

/// A folder, which must exist, where networks are kept as ONNX Runtime has optimized them, so that making the same
/// segmenter again is faster. With NULL, the default, none are kept. A file there that belongs to another model, version,
/// provider or processor is not used; where none can be written, the log tells.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `folder` is NULL or a NUL-terminated string.
fcn_status fcn_options_set_cache_dir(fcn_options *options,
                                 const char *folder);

/// Pads frames of about the size that the model was trained on, and resamples larger and smaller ones to that size, keeping
/// their proportions; labels come out at the frame's size. The default, but for models of one fixed size, which resample all
/// frames to it. The model's card or fcn_options_set_native_side() gives the size; without either, all frames are padded and
/// the log says so. fcn_mask_working_size() returns the size that was used.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_auto_size(fcn_options *options);

/// The size of frames that the model labels best, for fcn_options_set_auto_size(): the square root of width times height of the
/// photos it was trained on, in pixels, 16 to 32767; 416 for photos of 480 x 360. Overrides the model card; 0, the default,
/// means the card's.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_native_side(fcn_options *options,
                                       uint32_t pixels);

/// Pads frames at the right and at the bottom up to the next multiple of the model's stride, and crops the labels
/// back.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_pad(fcn_options *options);

/// Resamples frames to `width` x `height` pixels, both rounded up to multiples of the model's stride, and labels them
/// at their own size. Sides are 1 to 32767; 0 means the frame's own side.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_resize(fcn_options *options, uint32_t width, uint32_t height);

/// Resamples frames so that their shorter side has about this many pixels, 1 to 32767, keeping their proportions (both sides
/// are rounded to multiples of the model's stride), and labels them at their own size.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_short_side(fcn_options *options,
                                      uint32_t pixels);

/// Covers frames with rectangles of `width` x `height` pixels, multiples of the model's stride, whose neighbours share
/// at least `overlap` rows and columns; where they overlap, the mean of their scores counts. Keeps full resolution and
/// bounds the memory. Sides are 1 to 32767; 0 means the size of the crops that the model was trained on. `overlap` is
/// less than both sides.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_tile(fcn_options *options, uint32_t width, uint32_t height, uint32_t overlap);

/// What the model expects of its input: (value * scale - mean) / std for each channel, in the order red, green, blue, where
/// value is 0 to 255 and scale is 1 / 255 unless fcn_options_set_scale() says otherwise. A model of one channel (grey) has
/// the first mean and std; one that takes bytes (uint8) gets values as they are, and giving either is an error of
/// fcn_create(). For models without a card; wins over a card. NULL for either means what the card says, or without a card 0 and 1.
/// Means are finite; standard deviations are finite and greater than 0.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `mean` and `std` are NULL or point to 3 floats each.
fcn_status fcn_options_set_mean_std(fcn_options *options,
                                    const float *mean,
                                    const float *std);

/// The names of the classes in index order, 2 to 255 strings in UTF-8 that are not empty; they are copied. For models
/// without a card; wins over a card. NULL and 0 mean what the card says.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `names` is NULL or points to `count` pointers, each
/// NULL or a NUL-terminated string.
fcn_status fcn_options_set_class_names(fcn_options *options, const char *const *names, size_t count);

/// The colours of the classes by their index: "voc", Pascal VOC's colour map, or "cityscapes", those of its 19 classes,
/// with which fcn_create() of a model that has more is FCN_ERROR_INVALID_ARGUMENT. Wins over the model card. NULL, the
/// default, means the card's colours, or without a card "voc".
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `palette` is NULL or a NUL-terminated string.
fcn_status fcn_options_set_palette(fcn_options *options, const char *palette);

/// Where messages of the library and of ONNX Runtime go; NULL, the default, means nowhere: the library never prints.
/// `user` is handed to each call of `callback`; both must stay valid as long as a segmenter made with them,
/// and as long as its streams.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `callback` and `user` may be used from any thread.
fcn_status fcn_options_set_log(fcn_options *options, fcn_log_callback callback, void *user);

/// What each value, 0 to 255, is multiplied by before mean and std: for a model that takes values of 0 to 255 as they are 1,
/// and 0 for the default of 1 / 255. Finite and not negative. With a model that takes bytes (uint8) an error of fcn_create().
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_scale(fcn_options *options,
                                 float scale);

/// The order of the model's channels: one of FCN_CHANNELS_*. Wins over a card.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_channel_order(fcn_options *options, int32_t order);

/// The layout of the model's input, one of FCN_LAYOUT_*, for models whose input's shape does not tell: fcn_create() says so.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_input_layout(fcn_options *options,
                                        int32_t layout);

/// The name of the output that is the segmentation, for models with several; it is copied. NULL, the default, means the first
/// that can be one.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses; `name` is NULL or a NUL-terminated string.
fcn_status fcn_options_set_output(fcn_options *options,
                                  const char *name);

/// The layout of the model's output, one of FCN_LAYOUT_*, for models whose output's shape does not tell: fcn_create() says so.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_output_layout(fcn_options *options,
                                         int32_t layout);

/// What the model's scores are, one of FCN_VALUES_*. A model with one score for each pixel has two classes, "background" and
/// "foreground" unless fcn_options_set_class_names() names them: foreground is a logit above 0, or a probability above 0.5.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_output_values(fcn_options *options,
                                         int32_t values);

/// For models whose classes do not exclude each other (multilabel: a sigmoid for each), and for those with one score: the
/// probability that a class must reach, between 0 and 1; 0 for the default. A pixel belongs to the class with the highest score, or
/// to the background if none reaches `probability`. The background is class 0, in front of the model's own, so
/// fcn_options_set_class_names() takes one name more. Confidence is the softmax of all logits, the background's being that of
/// `probability`.
///
/// By default the highest score of several classes counts, however low, and a single score is foreground above 0.5. With a model
/// that has a card, a softmax or class indices an error of fcn_create().
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
fcn_status fcn_options_set_multilabel(fcn_options *options,
                                      float probability);

/// Loads the model in the ONNX file `path`. `options` may be NULL for the defaults. Stores the segmenter in
/// `*segmenter`, to be freed by fcn_free(); where it fails, `*segmenter` stays as it was.
///
/// Tensors may lie in other files in the model's folder (external data, such as "model.onnx.data"). Each must be a plain file
/// that is named without a folder; links out of the folder are refused. Model and tensors together may have 2 GiB. libfcn reads
/// the files during the call and does not need them afterwards.
///
/// The first call in a process loads ONNX Runtime. It sets the environment variable ORT_DISABLE_TELEMETRY=1, unless the
/// variable is set, because ONNX Runtime would otherwise send telemetry; it does so without disturbing threads that call
/// getenv(). If the host has loaded the same ONNX Runtime before, its telemetry may already run: the log says so.
///
/// A model may come from anyone. Its creation ends, and stays within bounds:
///
/// - Time: the option timeout, or 10 seconds if it is less, limits the whole call, which then returns FCN_ERROR_TIMEOUT. ONNX
///   Runtime is told to stop loading and running; it does so between nodes and between the steps of its optimizer, not within
///   them. TensorRT, which builds its engines for minutes, has no limit. Without a timeout, only the runs on an empty picture by
///   which shapes are found out are limited, to 30 seconds together.
/// - Graph: at most 32768 nodes, 65536 tensors and 256 outputs, graphs and functions nested at most 16 deep, and no circles.
/// - Memory: the description in the file (nodes, attributes, names) may take 256 MiB and 8 bytes for each byte of the file. It is
///   measured before it is decoded, and there are at most three copies at once. Models of one fixed size may have at most
///   33554432 pixels (2^25), tensors that are made of shapes alone at most 2^28 values together, and ONNX Runtime folds no
///   constants of more than 64 MiB. What the layers need beyond that grows with the picture and is not limited.
///
/// The calling thread needs 256 KiB of stack for this function, fcn_segment() and all others; 128 KiB were just enough with ONNX
/// Runtime 1.32 on x86-64.
///
/// After fork(), a child may create segmenters of its own, unless another thread was creating or freeing one at the moment of the
/// fork: then this is FCN_ERROR_RUNTIME in the child, because locks of ONNX Runtime may stay held there for ever.
///
/// Returns FCN_ERROR_RUNTIME if fewer threads can be started than are needed: one less than the option `threads` for each
/// session, and as many for the head.
///
/// A constructor of a shared library may create, use and free segmenters, too. Until dlopen() returns, threads started
/// there wait for the loader, so frames are labelled by the calling thread alone, timeouts do not end a run, streams label
/// nothing, and the memory of freed segmenters is released later.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string, `options` NULL or live options, `segmenter` NULL or a place to write to.
fcn_status fcn_create(const char *path,
                      const fcn_options *options,
                      fcn_segmenter **segmenter);

/// Loads the model in the `length` bytes at `model`, the content of an ONNX file; they are not needed any more after
/// the call. Models with external data are FCN_ERROR_MODEL: export them with `external_data=False`. Otherwise as fcn_create().
///
/// # Safety
/// `model` is NULL or points to `length` bytes, `options` is NULL or live options, `segmenter` NULL or a place to
/// write to.
fcn_status fcn_create_from_memory(const void *model,
                                  size_t length,
                                  const fcn_options *options,
                                  fcn_segmenter **segmenter);

/// Frees a segmenter and the strings that its functions returned. NULL is fine. Masks stay; streams go on, and free with
/// the last of them what they need of it.
///
/// # Safety
/// `segmenter` is NULL or comes from fcn_create() or fcn_create_from_memory(), was not freed before, and no thread
/// uses it.
void fcn_free(fcn_segmenter *segmenter);

/// Labels every pixel of `frame` and stores the result in `mask`. Where it fails, the mask and the buffer that was given
/// to it stay as they were. After the first frame of a size no memory is allocated for the result.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter. `frame` is NULL or describes pixels that nobody writes to during the call.
/// `mask` is NULL or a live mask that no other thread uses; the frame's pixels are neither the mask's own memory nor its
/// buffer's.
fcn_status fcn_segment(const fcn_segmenter *segmenter,
                       const fcn_frame *frame,
                       fcn_mask *mask);

/// Ends every call of fcn_segment() and fcn_segmenter_warm_up() on this segmenter that runs or waits for a session now, with
/// FCN_ERROR_CANCELLED, and the frames that its streams have in work. Later calls are not affected.
///
/// It does not wait for them. A layer of the network that has begun is finished first, and a call whose network is done
/// returns its result. Any thread may call it, but no signal handler.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
fcn_status fcn_segmenter_cancel(const fcn_segmenter *segmenter);

/// Does for frames of `width` x `height` pixels what is only done for the first one of a size: memory is set up and a
/// picture goes through the network, once for each session. Later frames of this size are as fast as they get.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
fcn_status fcn_segmenter_warm_up(const fcn_segmenter *segmenter, uint32_t width, uint32_t height);

/// The number of classes, 2 to 255; 0 for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
uint32_t fcn_segmenter_class_count(const fcn_segmenter *segmenter);

/// The name of class `index` in UTF-8, for example "cat". NULL where there is no such class.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
const char *fcn_segmenter_class_name(const fcn_segmenter *segmenter, uint32_t index);

/// The index of the class that means "nothing of interest": overlays leave its pixels as they are, and the palette "voc"
/// makes it black. It stands in the model card; a card without it means the class called "background", "_background_",
/// "__background__" or "bg". Of a model without a card it is class 0, if that is called so. -1 if there is none, and for
/// NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
int32_t fcn_segmenter_background(const fcn_segmenter *segmenter);

/// Stores the colour of class `index` in the palette, red, green and blue, in the 3 bytes at `rgb`. It is the colour of label files
/// (fcn_mask_write_png()); see fcn_segmenter_class_display_color() for that of overlays.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `rgb` is NULL or points to 3 bytes to write to.
fcn_status fcn_segmenter_class_color(const fcn_segmenter *segmenter,
                           uint32_t index,
                           uint8_t *rgb);

/// Stores the colour that overlays and their legends draw class `index` in, red, green and blue, in the 3 bytes at `rgb`: the
/// palette's, made bright enough to be seen over a picture. Its largest value v becomes 160 + 95 v / 255, rounded, and the others
/// grow in proportion, so hues stay, and colours that differ in brightness alone still differ; black becomes grey.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `rgb` is NULL or points to 3 bytes to write to.
fcn_status fcn_segmenter_class_display_color(const fcn_segmenter *segmenter,
                                   uint32_t index,
                                   uint8_t *rgb);

/// Where the network runs: "cpu", "cuda" or "tensorrt". NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
const char *fcn_segmenter_provider_name(const fcn_segmenter *segmenter);

/// Why FCN_PROVIDER_AUTO took no better provider, in ONNX Runtime's words; "" where there was none better, or where
/// the provider was asked for by name. NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
const char *fcn_segmenter_provider_reason(const fcn_segmenter *segmenter);

/// The version of ONNX Runtime that runs the network, for example "1.32.0". NULL for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
const char *fcn_segmenter_runtime_version(const fcn_segmenter *segmenter);

/// The model's stride in pixels: it works on sides that are multiples of this. Frames may have any size; see
/// fcn_options_set_pad(), fcn_options_set_resize() and fcn_options_set_tile(). 0 for NULL.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
uint32_t fcn_segmenter_stride(const fcn_segmenter *segmenter);

/// The model card as JSON: classes, colours, training data and what was measured. NULL for a model without a card.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter.
const char *fcn_segmenter_card_json(const fcn_segmenter *segmenter);

/// A frame of `width` x `height` pixels in one plane, whose rows start `stride` bytes apart; a stride of 0 means rows
/// without padding. The last row may end without padding. Strides may be negative: see `fcn_frame.strides`.
///
/// Nothing is checked here and the pixels are not looked at; fcn_segment() does both.
fcn_frame fcn_frame_packed(uint32_t format, const void *pixels, uint32_t width, uint32_t height, size_t stride);

/// A frame of `width` x `height` pixels whose planes lie anywhere, each with its own stride, such as an AVFrame's
/// `data` and `linesize` or what GstVideoMeta tells; NULL and 0 for planes that the format does not have.
///
/// Nothing is checked here and the pixels are not looked at; fcn_segment() does both.
fcn_frame fcn_frame_planar(uint32_t format,
                           uint32_t width,
                           uint32_t height,
                           const void *plane_0,
                           size_t stride_0,
                           const void *plane_1,
                           size_t stride_1,
                           const void *plane_2,
                           size_t stride_2);

/// A frame of `width` x `height` pixels in one block of memory, such as a V4L2 buffer with its `bytesperline` as `stride`:
/// each plane starts where the rows of the one before end. The rows of the second plane of NV12 and NV21 are as far apart
/// as those of the first (rounded up to an even number), those of the other planes of I420 half as far (rounded up). For
/// formats of one plane it is fcn_frame_packed(). GStreamer leaves a row out after planes of odd height: use
/// fcn_frame_planar() there. With a negative stride the rows of each plane lie upwards, and `pixels` is the picture's first row.
///
/// Nothing is checked here and the pixels are not looked at; fcn_segment() does both.
fcn_frame fcn_frame_contiguous(uint32_t format,
                               const void *pixels,
                               uint32_t width,
                               uint32_t height,
                               size_t stride);

/// The format that others call `name`, in upper or lower case: an encoding of ROS 2 ("bgr8", "mono16", "yuv422_yuy2"), a
/// type of OpenCV's matrices ("8UC1", "16UC1", and "8UC3" and "8UC4", whose colours are in the order blue, green, red), a
/// fourcc of V4L2 ("NV12", "YUYV", "XR24"), a name of GStreamer ("I420", "BGRx", "GRAY16_LE") or FFmpeg ("yuv420p"), or
/// one of this library ("RGB8"). Stores one of FCN_FORMAT_* in `*format`. Any other name, such as a Bayer pattern, is
/// FCN_ERROR_UNSUPPORTED_FORMAT, and `*format` stays as it was.
///
/// A name says nothing about the colour matrix, and nothing about the range but for FFmpeg's "yuvj420p" and its like: they become
/// FCN_FORMAT_J*, whose range is full. Nor does it tell ROS 2's `is_bigendian`, which must be 0 for "mono16" and "16UC1".
///
/// # Safety
/// `name` is NULL or a NUL-terminated string; `format` is NULL or a place to write to.
fcn_status fcn_format_from_name(const char *name,
                                uint32_t *format);

/// The name of a format, for example "NV12"; "unknown format" for any other number. Never NULL, never freed.
const char *fcn_format_name(uint32_t format);

/// An empty mask that will hold labels and pixels per class. Free it with fcn_mask_free().
fcn_mask *fcn_mask_new(void);

/// Frees a mask and everything its functions pointed to. NULL is fine.
///
/// # Safety
/// `mask` is NULL or comes from fcn_mask_new(), was not freed before, and no thread uses it.
void fcn_mask_free(fcn_mask *mask);

/// Chooses what later calls of fcn_segment() are to yield beside the labels: FCN_OUTPUT_* joined by `|`, or 0. All come out of
/// one pass.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
fcn_status fcn_mask_set_outputs(fcn_mask *mask,
                                uint32_t outputs);

/// The size of the mask, whatever that of the frame: columns and rows, each at most 32767; 0, the default, means the
/// frame's own side (after crop and rotation). Scores are interpolated straight to this size (bilinear, half-pixel centres)
/// from the size of the network's input, without what padding added, and labels are taken there. Tiles are averaged
/// at the frame's size first.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
fcn_status fcn_mask_set_size(fcn_mask *mask,
                             uint32_t width,
                             uint32_t height);

/// Where labels go from now on: `bytes` bytes of the caller's at `labels`, in rows that start `stride` bytes apart; 0 means rows
/// without padding, and the last one may end without. What lies between rows is not touched. NULL, the default, means the
/// mask's own memory. fcn_segment() is FCN_ERROR_INVALID_ARGUMENT where the mask's size does not fit.
///
/// Labels are written straight there, but for those of tiles (fcn_options_set_tile()), which are copied when the last
/// tile has succeeded. Nothing can fail any more once the first label is written. Streams keep to masks of their own.
///
/// Labels of the last frame that are in the buffer given before are the mask's no longer: fcn_mask_labels() is NULL then.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses. `labels` is NULL or points to `bytes` bytes that stay until this is called
/// again or the mask is freed, and that no other thread uses while a function has the mask.
fcn_status fcn_mask_set_buffer(fcn_mask *mask,
                               uint8_t *labels,
                               size_t bytes,
                               size_t stride);

/// Pixels whose confidence is less than this, 0 to 1, get the label 255 (unknown); 0, the default, means none. It costs as
/// much as FCN_OUTPUT_CONFIDENCE.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
fcn_status fcn_mask_set_threshold(fcn_mask *mask,
                                  float confidence);

/// Only these class indices, each less than 255, compete: labels, confidence and margin are as if the model had no
/// others; scores have all the same. They are copied; order and repetition do not matter. NULL and 0, the default, mean
/// every class. fcn_segment() is FCN_ERROR_INVALID_ARGUMENT where the model has fewer classes.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses; `classes` is NULL or points to `count` numbers.
fcn_status fcn_mask_set_classes(fcn_mask *mask, const uint32_t *classes, size_t count);

/// Writes `labels[i]` where class i wins: 1 to 256 labels, as many as the model has classes or more, which are copied;
/// several classes may share one. NULL and 0, the default, mean the class index itself. Unknown pixels (255) are not
/// looked up.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses; `labels` is NULL or points to `count` bytes.
fcn_status fcn_mask_set_remap(fcn_mask *mask, const uint8_t *labels, size_t count);

/// Removes specks: regions of fewer than `pixels` pixels take the label that borders them most. 0, the default, and 1 leave
/// labels as they are; every number is possible.
///
/// A region is here pixels with one label that touch at their sides; those that touch at corners alone are not together, so
/// fcn_mask_contours() then finds neither regions nor holes of fewer pixels. The smallest goes first (of equal ones the one
/// whose first pixel, row by row, comes first) and takes the label with the most sides of pixels along it, of equal ones the
/// lowest; it is one region from then on with those of this label that it touches. So none that is too small is left, unless
/// it is the whole mask.
///
/// Unknown pixels (255) stay so, however few, because nothing makes them certain; a speck that they border most becomes unknown.
/// fcn_mask_pixel_counts() counts the labels as they are then. Confidence, margin, scores and fcn_mask_non_finite_count() stay what the network
/// said of each pixel, and smoothing averages scores that know nothing of it. A stream takes this from the mask that it is made
/// like.
///
/// The time is part of `fcn_timings.head`; it grows with the number of runs of equal labels in the rows: 0.3 ms for the labels of a
/// photo at 1920 x 1080, a microsecond a pixel for noise. Memory for the most runs possible is reserved in each session, 20 bytes
/// a pixel, and used as far as there are runs.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
fcn_status fcn_mask_set_min_region(fcn_mask *mask,
                                   uint32_t pixels);

/// Averages scores over the frames of a stream, so that labels flicker less: `share` is the weight of the newest frame,
/// greater than 0 and at most 1, and each earlier one weighs (1 - share) times its successor. 1, the default, means that
/// each frame stands alone.
///
/// The average is that of the network's own low-resolution scores, so it costs little. It begins anew with another size, crop,
/// rotation or mirror of the frame, with another segmenter, after a frame without smoothing, and after fcn_mask_reset(). A
/// mask belongs to one camera then; a stream, which takes the share from the mask that it is made like, has an average of its own.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
fcn_status fcn_mask_set_smoothing(fcn_mask *mask,
                                  float share);

/// Forgets earlier frames: the next one is not averaged with them. Everything else stays.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread uses.
fcn_status fcn_mask_reset(fcn_mask *mask);

/// Stores in `*width` and `*height` the columns and rows of the network's input for this frame, with padding; with tiles, those
/// of a tile. 0 and 0 before the first frame. Either pointer may be NULL.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `width` and `height` are NULL or places to write to.
fcn_status fcn_mask_working_size(const fcn_mask *mask,
                                 uint32_t *width,
                                 uint32_t *height);

/// Columns: those of the frame after crop and rotation, or what fcn_mask_set_size() asked for; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
uint32_t fcn_mask_width(const fcn_mask *mask);

/// Rows: those of the frame after crop and rotation, or what fcn_mask_set_size() asked for; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
uint32_t fcn_mask_height(const fcn_mask *mask);

/// Classes of the model that filled the mask; 0 before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
uint32_t fcn_mask_class_count(const fcn_mask *mask);

/// The class index of each pixel, row by row: height x width bytes, each less than the number of classes unless a threshold or
/// other labels were chosen. They are in the mask's own memory, without padding, or in the buffer that was given to it;
/// fcn_mask_stride() is the distance of rows. NULL before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
const uint8_t *fcn_mask_labels(const fcn_mask *mask);

/// The distance in bytes from one row of fcn_mask_labels() to the next; 0 where that is NULL. Everything else in a mask has
/// no padding.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
size_t fcn_mask_stride(const fcn_mask *mask);

/// The highest softmax probability of each pixel, row by row: height x width floats, greater than 0 and at most 1.
/// NULL where the last frame was segmented without FCN_OUTPUT_CONFIDENCE.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
const float *fcn_mask_confidence(const fcn_mask *mask);

/// The same in bytes: 255 times the probability, rounded. NULL where the last frame was segmented without
/// FCN_OUTPUT_CONFIDENCE_U8.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
const uint8_t *fcn_mask_confidence_u8(const fcn_mask *mask);

/// The highest softmax probability of each pixel less the second highest, row by row: height x width floats, 0 to 1 (1 where
/// only one class competes). NULL where the last frame was segmented without FCN_OUTPUT_MARGIN.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
const float *fcn_mask_margin(const fcn_mask *mask);

/// The scores before softmax: classes x height x width floats. NULL where the last frame was segmented without
/// FCN_OUTPUT_SCORES.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
const float *fcn_mask_scores(const fcn_mask *mask);

/// How many pixels have each label from 0 to fcn_mask_class_count() - 1, in this order. They add up to height x width, less those
/// with other labels, which come from a threshold or from labels that were chosen; fcn_mask_regions() counts these, too.
/// NULL before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
const uint64_t *fcn_mask_pixel_counts(const fcn_mask *mask);

/// How many pixels have a score that is infinite or NaN. Their label is 255, their confidence and margin are 0. More than 0
/// means that the model, or what it is fed, is broken. 0 before the first frame, for models that answer class indices, and for NULL.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to.
uint64_t fcn_mask_non_finite_count(const fcn_mask *mask);

/// Stores, for each label from 0 to `count` - 1 as it stands in the mask, how many pixels have it, where they are, and their
/// centroid, in the `count` regions at `regions`, 1 to 256. One pass over the labels, about a nanosecond for a pixel or less.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `regions` is NULL or has room for `count` regions.
fcn_status fcn_mask_regions(const fcn_mask *mask,
                            fcn_region *regions,
                            size_t count);

/// As fcn_mask_regions(), without specks: pixels count where at least `min_area` of their label touch each other, at sides or
/// corners, as contours have it. 0 and 1 leave nothing out. This takes memory for up to 12 bytes a pixel.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `regions` is NULL or has room for `count` regions.
fcn_status fcn_mask_regions_filtered(const fcn_mask *mask,
                                     uint32_t min_area,
                                     fcn_region *regions,
                                     size_t count);

/// How long the last successful fcn_segment() into this mask took; zeros before the first frame.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to. `timings` is NULL or can be written to.
fcn_status fcn_mask_timings(const fcn_mask *mask, fcn_timings *timings);

/// Makes a stream that labels frames with `segmenter`, and stores it in `*stream`, to be freed by fcn_stream_free(). The
/// stream shares the segmenter, which may be freed at any time.
///
/// `like` is a mask that is set up as results are to be, say by fcn_mask_set_outputs(); NULL means labels only. `callback`
/// receives what becomes of each frame, and `context`; without one (NULL) fcn_stream_poll() and fcn_stream_wait() do. Where
/// it fails, `*stream` stays as it was.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter, `like` NULL or a live mask that no other thread writes to, `stream` NULL or a
/// place to write to. `callback` and `context` stay valid until the stream has ended: see fcn_stream_stop().
fcn_status fcn_stream_create(const fcn_segmenter *segmenter,
                             const fcn_mask *like,
                             fcn_stream_callback callback,
                             void *context,
                             fcn_stream **stream);

/// Hands a copy of `frame` to the stream: only the pixels inside its crop are copied, to memory that is used again. The
/// frame that waited, if one did, is dropped without a word. Never waits for the network.
///
/// `timestamp` and `user` come back with the result and mean nothing to the library; a timestamp is nanoseconds of the
/// caller's clock by custom. A frame that is wrong in itself fails here, and the stream does not take it; what else can go
/// wrong comes as its result. FCN_ERROR_CANCELLED means that the stream is stopped.
///
/// # Safety
/// `stream` is NULL or a live stream. `frame` is NULL or describes pixels that nobody writes to during the call.
fcn_status fcn_stream_push(const fcn_stream *stream,
                           const fcn_frame *frame,
                           int64_t timestamp,
                           void *user);

/// Hands `frame` to the stream without a copy. `release` is called with `user`, exactly once for each frame that the stream
/// takes, when it does not look at the pixels any more: after the callback, or for a stream that is polled when the network
/// is done; for a frame that is dropped at once, within the fcn_stream_push(), fcn_stream_stop() or fcn_stream_free() that
/// drops it. Otherwise as fcn_stream_push(); where this fails, the frame stays the caller's and `release` is not called.
///
/// # Safety
/// `stream` is NULL or a live stream. `frame` is NULL or describes pixels that stay, and that nobody writes to, until
/// `release` is called, which any thread may do.
fcn_status fcn_stream_push_borrowed(const fcn_stream *stream,
                                    const fcn_frame *frame,
                                    int64_t timestamp,
                                    void *user,
                                    fcn_release_callback release);

/// Gives frames that are pushed from now on this many milliseconds, from their push on, to get a result; 0, the default,
/// means for ever. Call it before a push to give that frame its own.
///
/// A frame is late, and its result FCN_ERROR_TIMEOUT, where its time is over before it is begun (the network then does not
/// run), while the network runs (which is ended, as by fcn_segmenter_cancel()), or when its labels are there. So a result that comes is
/// one in time.
///
/// # Safety
/// `stream` is NULL or a live stream.
fcn_status fcn_stream_set_deadline(const fcn_stream *stream,
                                   uint32_t milliseconds);

/// fcn_stream_wait() that does not wait: FCN_ERROR_TIMEOUT where there is no new result.
///
/// # Safety
/// As for fcn_stream_wait().
fcn_status fcn_stream_poll(const fcn_stream *stream, fcn_mask *mask, int64_t *timestamp, void **user);

/// Fetches the newest result of a stream without callback that nobody has had yet; waits for one at most `milliseconds`.
/// FCN_OK: `mask` holds it, without a copy (its old memory goes to the stream), and `*timestamp` and `*user` are those of
/// the frame; either may be NULL.
///
/// - FCN_ERROR_TIMEOUT: there is no new result. A frame that was late, or ended by a timeout or fcn_segmenter_cancel(), is only
///   counted.
/// - FCN_ERROR_CANCELLED: the stream is stopped, and its last result was fetched.
/// - FCN_ERROR_INVALID_ARGUMENT where the stream has a callback.
/// - Anything else is why the newest frame failed; `*timestamp` and `*user` are that frame's, and `mask` stays as it was.
///
/// # Safety
/// `stream` is NULL or a live stream, `mask` NULL or a live mask that no other thread uses, `timestamp` and `user` NULL or
/// places to write to.
fcn_status fcn_stream_wait(const fcn_stream *stream,
                           uint32_t milliseconds,
                           fcn_mask *mask,
                           int64_t *timestamp,
                           void **user);

/// Stores how many frames were pushed so far, and what became of them.
///
/// # Safety
/// `stream` is NULL or a live stream. `counters` is NULL or can be written to.
fcn_status fcn_stream_get_counters(const fcn_stream *stream, fcn_stream_counters *counters);

/// Ends the stream: frames without a result are dropped, a run of the network is ended, and nothing more can be pushed. The
/// last result can still be polled.
///
/// When this returns, the callback has returned and is not called again, and all borrowed frames were released, but for one
/// that another thread's push or stop is just releasing. Called by the stream's own callback, it returns at once, and all
/// this holds when the callback has returned. Stopping twice is fine, also at the same time. Callbacks that stop each
/// other's streams wait for each other for ever.
///
/// # Safety
/// `stream` is NULL or a live stream.
fcn_status fcn_stream_stop(const fcn_stream *stream);

/// Stops the stream as fcn_stream_stop() does, and frees it. NULL is fine. Other threads may be inside functions of this
/// stream, or just enter them: pushes and waits end with FCN_ERROR_CANCELLED.
///
/// In the stream's own callback, this returns at once; the rest is freed when the callback has returned, and a frame that
/// was borrowed is released then.
///
/// # Safety
/// `stream` is NULL or comes from fcn_stream_create() and was not freed before.
void fcn_stream_free(fcn_stream *stream);

/// Finds the borders of the pixels with this label (0 to 255, as it stands in the mask) and stores them in `*contours`, to
/// be freed by fcn_contours_free(); where it fails, `*contours` stays as it was. This takes memory for 4 bytes a pixel.
///
/// Each is a closed polygon. Pixels that touch at a corner belong together. A corner of a polygon is the centre of a pixel that has
/// the label and touches, at one of its four sides, one that has not; the lines between corners are horizontal, vertical or
/// diagonal, and the last leads back to the first. Borders around pixels run counter-clockwise as one sees the picture,
/// those around holes clockwise. The method is that of Suzuki and Abe (1985), as in OpenCV's findContours with RETR_TREE and
/// CHAIN_APPROX_SIMPLE; the order is that of the rows in which they begin.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `contours` is NULL or a place to write to.
fcn_status fcn_mask_contours(const fcn_mask *mask,
                             uint32_t label,
                             fcn_contours **contours);

/// As fcn_mask_contours(), without what is too small to mean anything: regions of fewer than `min_area` pixels, with the holes in
/// them, and holes around fewer than `min_area` pixels, with all that lies in them. 0 and 1 leave nothing out. The pixels of a
/// region are those that have the label, without its holes; those of a hole are all inside of its border, whatever their labels.
///
/// A region that is left out may surround a larger one: that one stays, and its parent is the nearest hole around it that is left,
/// or -1. So these are the contours of labels whose small regions are gone.
///
/// # Safety
/// `mask` is NULL or a live mask that no other thread writes to; `contours` is NULL or a place to write to.
fcn_status fcn_mask_contours_filtered(const fcn_mask *mask,
                                      uint32_t label,
                                      uint32_t min_area,
                                      fcn_contours **contours);

/// Frees contours. NULL is fine.
///
/// # Safety
/// `contours` is NULL or comes from fcn_mask_contours() or fcn_mask_contours_filtered(), was not freed before, and no thread uses it.
void fcn_contours_free(fcn_contours *contours);

/// How many there are; 0 for NULL.
///
/// # Safety
/// `contours` is NULL or live contours.
size_t fcn_contours_count(const fcn_contours *contours);

/// The corners of contour `index`, at least one; their number goes to `*count`. They belong to `contours`. NULL, and
/// `*count` stays, where there is no such contour or an argument is NULL.
///
/// # Safety
/// `contours` is NULL or live contours; `count` is NULL or can be written to.
const fcn_point *fcn_contours_points(const fcn_contours *contours, size_t index, size_t *count);

/// Whether contour `index` goes around a hole, so that the pixels inside have other labels: 1 or 0; -1 where there is no such
/// contour.
///
/// # Safety
/// `contours` is NULL or live contours.
int32_t fcn_contours_is_hole(const fcn_contours *contours,
                             size_t index);

/// The index of the contour that contour `index` lies directly inside of: of a hole that around the pixels, of
/// pixels that of the hole they lie in; -1 where it lies in none, or where there is no such contour.
///
/// # Safety
/// `contours` is NULL or live contours.
int64_t fcn_contours_parent(const fcn_contours *contours, size_t index);

/// Blends the colours of the classes into a picture of the mask's size, in place: `alpha` 0 leaves the picture, 1
/// paints over it. Colours are those of fcn_segmenter_class_display_color(). Left as they are: the class of fcn_segmenter_background(), and pixels with label 255.
/// `format` is FCN_FORMAT_RGB8, BGR8, RGBA8, BGRA8, RGBX8 or BGRX8; their fourth bytes stay. `stride` is the distance of rows
/// in bytes, 0 for rows without padding, negative as in `fcn_frame.strides`. A label that is no class of the segmenter is
/// FCN_ERROR_INVALID_ARGUMENT. Where it fails, the picture stays as it was.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `mask` is NULL or a live mask that no other thread writes to; `pixels` is
/// NULL or points to the pixels that format, width, height and stride describe, and no other thread uses them.
fcn_status fcn_overlay_draw(const fcn_segmenter *segmenter,
                       const fcn_mask *mask,
                       float alpha,
                       uint32_t format,
                       void *pixels,
                       uint32_t width,
                       uint32_t height,
                       size_t stride);

/// As fcn_overlay_draw(), with outlines and a legend.
///
/// # Safety
/// As for fcn_overlay_draw(); `style` is NULL or points to a style.
fcn_status fcn_overlay_draw_styled(const fcn_segmenter *segmenter,
                              const fcn_mask *mask,
                              const fcn_overlay_style *style,
                              uint32_t format,
                              void *pixels,
                              uint32_t width,
                              uint32_t height,
                              size_t stride);

#if defined(FCN_WITH_IMAGE)
/// Reads a JPEG or PNG file; transparency is dropped, and the picture is turned upright if its EXIF data says how.
/// Sides are at most 32767 pixels, and the decoded picture at most 1 GiB. A file that is cut off or otherwise damaged is
/// FCN_ERROR_IO, even if part of it could be shown. Stores the image in `*image`, to be freed by
/// fcn_image_free(); where it fails, `*image` stays as it was.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string; `image` is NULL or a place to write to.
fcn_status fcn_image_read(const char *path,
                          fcn_image **image);
#endif

#if defined(FCN_WITH_IMAGE)
/// Frees an image. NULL is fine.
///
/// # Safety
/// `image` is NULL or comes from fcn_image_read(), was not freed before, and no thread uses it.
void fcn_image_free(fcn_image *image);
#endif

#if defined(FCN_WITH_IMAGE)
/// Columns; 0 for NULL.
///
/// # Safety
/// `image` is NULL or a live image.
uint32_t fcn_image_width(const fcn_image *image);
#endif

#if defined(FCN_WITH_IMAGE)
/// Rows; 0 for NULL.
///
/// # Safety
/// `image` is NULL or a live image.
uint32_t fcn_image_height(const fcn_image *image);
#endif

#if defined(FCN_WITH_IMAGE)
/// The pixels: height x width x 3 bytes, which may be written to. They belong to the image. NULL for NULL.
///
/// # Safety
/// `image` is NULL or a live image that no other thread uses.
uint8_t *fcn_image_pixels(fcn_image *image);
#endif

#if defined(FCN_WITH_IMAGE)
/// Writes the image as a PNG file. A file of that name is replaced only once the new one is complete.
///
/// # Safety
/// `image` is NULL or a live image that no other thread writes to; `path` is NULL or a NUL-terminated string.
fcn_status fcn_image_write_png(const fcn_image *image, const char *path);
#endif

#if defined(FCN_WITH_IMAGE)
/// Writes the mask as a PNG file with a palette: each pixel's value is its class index, shown in the class's colour.
/// A file of that name is replaced only once the new one is complete.
///
/// # Safety
/// `segmenter` is NULL or a live segmenter; `mask` is NULL or a live mask that no other thread writes to; `path` is
/// NULL or a NUL-terminated string.
fcn_status fcn_mask_write_png(const fcn_segmenter *segmenter, const fcn_mask *mask, const char *path);
#endif

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FCN_H */
