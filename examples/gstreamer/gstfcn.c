/* fcn: a GStreamer element that labels video frames. It draws class colours and outlines into them,
 * in place, or replaces them by their labels.
 *
 *     cc -shared -fPIC gstfcn.c -o libgstfcn.so \
 *         $(pkg-config --cflags --libs fcn gstreamer-video-1.0)
 *     export GST_PLUGIN_PATH=$PWD
 *     gst-launch-1.0 v4l2src ! fcn model=animals.onnx ! videoconvert ! autovideosink
 *     gst-launch-1.0 filesrc location=cat.mp4 ! decodebin ! fcn model=animals.onnx \
 *         size-mode=resize width=480 height=320 ! x264enc ! mp4mux ! filesink location=labelled.mp4
 *     gst-launch-1.0 v4l2src ! fcn model=street.onnx output=labels ! appsink
 *
 * With the flags of HAVE_GST_ANALYTICS, the element has the property `metadata`, which attaches
 * the labels to the frames; this needs GStreamer 1.26:
 *
 *     cc -shared -fPIC -DHAVE_GST_ANALYTICS gstfcn.c -o libgstfcn.so \
 *         $(pkg-config --cflags --libs fcn gstreamer-video-1.0 gstreamer-analytics-1.0)
 *     gst-launch-1.0 v4l2src ! fcn model=street.onnx metadata=true alpha=0 outline=0 ! appsink
 *
 * `make install` puts it into the plugins' folder. Programs use it by name in gst_parse_launch()
 * or gst_element_factory_make(). The base class handles caps, EOS, flushes and quality of service:
 * with a synchronised sink, late frames are dropped before they are labelled. */

#include <fcn.h>
#include <gst/gst.h>
#include <gst/video/gstvideofilter.h>
#include <gst/video/video.h>
#ifdef HAVE_GST_ANALYTICS
#include <gst/analytics/analytics.h>
#endif
#include <string.h>

/* Formats that class colours can be drawn into; labels are found in GRAY8 frames, too. */
#define DRAWN "NV12, NV21, I420, YUY2, UYVY, RGB, BGR, RGBx, BGRx, RGBA, BGRA"

G_DECLARE_FINAL_TYPE(GstFcn, gst_fcn, GST, FCN, GstVideoFilter)

typedef enum { SIZE_AUTO, SIZE_PAD, SIZE_RESIZE, SIZE_SHORT_SIDE, SIZE_TILE } size_mode;
typedef enum { OUTPUT_OVERLAY, OUTPUT_LABELS } output_mode;

/* Guarded by the object lock. */
typedef struct {
    gchar *model;
    gint provider, precision, size_mode, output, outline;
    gboolean metadata;
    guint threads, width, height, short_side, overlap, min_region;
    gdouble alpha, threshold, smoothing;
} settings;

struct _GstFcn {
    GstVideoFilter parent;
    settings settings;
    /* Valid from start to stop; only the streaming thread uses the mask. */
    fcn_segmenter *segmenter;
    fcn_mask *mask;
    /* Whether each pixel is part of an outline, with the capacity; for Y'CbCr only. */
    uint8_t *outlined;
    gsize capacity;
    /* The class that is not drawn; -1 for none. */
    gint background;
    output_mode output;
#ifdef HAVE_GST_ANALYTICS
    gboolean metadata;
    /* Where masks for metadata come from, and their format; NULL without metadata or caps. */
    GstBufferPool *masks;
    GstVideoInfo mask_info;
    /* By class; there are at most 255. */
    guint region_ids[255];
    GQuark class_names[255];
    gfloat confidences[255];
#endif
};

G_DEFINE_TYPE(GstFcn, gst_fcn, GST_TYPE_VIDEO_FILTER)

enum {
    PROPERTY_MODEL = 1,
    PROPERTY_PROVIDER,
    PROPERTY_PRECISION,
    PROPERTY_THREADS,
    PROPERTY_SIZE_MODE,
    PROPERTY_WIDTH,
    PROPERTY_HEIGHT,
    PROPERTY_SHORT_SIDE,
    PROPERTY_OVERLAP,
    PROPERTY_THRESHOLD,
    PROPERTY_SMOOTHING,
    PROPERTY_MIN_REGION,
    PROPERTY_OUTPUT,
    PROPERTY_ALPHA,
    PROPERTY_OUTLINE,
    PROPERTY_METADATA
};

static GType provider_type(void) {
    static const GEnumValue values[] = {
        {FCN_PROVIDER_AUTO, "The best one that works here", "auto"},
        {FCN_PROVIDER_CPU, "CPU", "cpu"},
        {FCN_PROVIDER_CUDA, "NVIDIA GPU through CUDA, or an error", "cuda"},
        {FCN_PROVIDER_TENSORRT, "NVIDIA GPU through TensorRT, or an error", "tensorrt"},
        {FCN_PROVIDER_OPENVINO, "CPU through OpenVINO, or an error", "openvino"},
        {0, NULL, NULL},
    };
    static gsize type = 0;
    if (g_once_init_enter(&type)) g_once_init_leave(&type, g_enum_register_static("GstFcnProvider", values));
    return type;
}

static GType precision_type(void) {
    static const GEnumValue values[] = {
        {FCN_PRECISION_EXACT, "As the file says", "exact"},
        {FCN_PRECISION_FAST, "float32 layers in a shorter format, if the provider has one", "fast"},
        {0, NULL, NULL},
    };
    static gsize type = 0;
    if (g_once_init_enter(&type)) g_once_init_leave(&type, g_enum_register_static("GstFcnPrecision", values));
    return type;
}

static GType size_mode_type(void) {
    static const GEnumValue values[] = {
        {SIZE_AUTO, "The model's native size", "auto"},
        {SIZE_PAD, "The frame's own size, padded", "pad"},
        {SIZE_RESIZE, "Resampled to width x height; 0 is the frame's own", "resize"},
        {SIZE_SHORT_SIDE, "Resampled: the shorter side has short-side pixels", "short-side"},
        {SIZE_TILE, "Tiles of width x height; 0 is the model's training crop", "tile"},
        {0, NULL, NULL},
    };
    static gsize type = 0;
    if (g_once_init_enter(&type)) g_once_init_leave(&type, g_enum_register_static("GstFcnSizeMode", values));
    return type;
}

static GType output_type(void) {
    static const GEnumValue values[] = {
        {OUTPUT_OVERLAY, "The frames with class colours and outlines", "overlay"},
        {OUTPUT_LABELS, "Class indices as GRAY8; 255 is unknown", "labels"},
        {0, NULL, NULL},
    };
    static gsize type = 0;
    if (g_once_init_enter(&type)) g_once_init_leave(&type, g_enum_register_static("GstFcnOutput", values));
    return type;
}

static void gst_fcn_set_property(GObject *object, guint property, const GValue *value, GParamSpec *spec) {
    settings *to = &GST_FCN(object)->settings;
    GST_OBJECT_LOCK(object);
    switch (property) {
    case PROPERTY_MODEL:
        g_free(to->model);
        to->model = g_value_dup_string(value);
        break;
    case PROPERTY_PROVIDER: to->provider = g_value_get_enum(value); break;
    case PROPERTY_PRECISION: to->precision = g_value_get_enum(value); break;
    case PROPERTY_THREADS: to->threads = g_value_get_uint(value); break;
    case PROPERTY_SIZE_MODE: to->size_mode = g_value_get_enum(value); break;
    case PROPERTY_WIDTH: to->width = g_value_get_uint(value); break;
    case PROPERTY_HEIGHT: to->height = g_value_get_uint(value); break;
    case PROPERTY_SHORT_SIDE: to->short_side = g_value_get_uint(value); break;
    case PROPERTY_OVERLAP: to->overlap = g_value_get_uint(value); break;
    case PROPERTY_THRESHOLD: to->threshold = g_value_get_double(value); break;
    case PROPERTY_SMOOTHING: to->smoothing = g_value_get_double(value); break;
    case PROPERTY_MIN_REGION: to->min_region = g_value_get_uint(value); break;
    case PROPERTY_OUTPUT: to->output = g_value_get_enum(value); break;
    case PROPERTY_ALPHA: to->alpha = g_value_get_double(value); break;
    case PROPERTY_OUTLINE: to->outline = g_value_get_int(value); break;
    case PROPERTY_METADATA: to->metadata = g_value_get_boolean(value); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property, spec);
    }
    GST_OBJECT_UNLOCK(object);
}

static void gst_fcn_get_property(GObject *object, guint property, GValue *value, GParamSpec *spec) {
    const settings *from = &GST_FCN(object)->settings;
    GST_OBJECT_LOCK(object);
    switch (property) {
    case PROPERTY_MODEL: g_value_set_string(value, from->model); break;
    case PROPERTY_PROVIDER: g_value_set_enum(value, from->provider); break;
    case PROPERTY_PRECISION: g_value_set_enum(value, from->precision); break;
    case PROPERTY_THREADS: g_value_set_uint(value, from->threads); break;
    case PROPERTY_SIZE_MODE: g_value_set_enum(value, from->size_mode); break;
    case PROPERTY_WIDTH: g_value_set_uint(value, from->width); break;
    case PROPERTY_HEIGHT: g_value_set_uint(value, from->height); break;
    case PROPERTY_SHORT_SIDE: g_value_set_uint(value, from->short_side); break;
    case PROPERTY_OVERLAP: g_value_set_uint(value, from->overlap); break;
    case PROPERTY_THRESHOLD: g_value_set_double(value, from->threshold); break;
    case PROPERTY_SMOOTHING: g_value_set_double(value, from->smoothing); break;
    case PROPERTY_MIN_REGION: g_value_set_uint(value, from->min_region); break;
    case PROPERTY_OUTPUT: g_value_set_enum(value, from->output); break;
    case PROPERTY_ALPHA: g_value_set_double(value, from->alpha); break;
    case PROPERTY_OUTLINE: g_value_set_int(value, from->outline); break;
    case PROPERTY_METADATA: g_value_set_boolean(value, from->metadata); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property, spec);
    }
    GST_OBJECT_UNLOCK(object);
}

/* The size at which the network sees frames. */
static fcn_status set_size(fcn_options *options, const settings *from) {
    switch (from->size_mode) {
    case SIZE_PAD: return fcn_options_set_pad(options);
    case SIZE_RESIZE: return fcn_options_set_resize(options, from->width, from->height);
    case SIZE_SHORT_SIDE: return fcn_options_set_short_side(options, from->short_side);
    case SIZE_TILE: return fcn_options_set_tile(options, from->width, from->height, from->overlap);
    default: return FCN_OK;
    }
}

#ifdef HAVE_GST_ANALYTICS

/* Prepares what is the same in the metadata of all frames. The regions are all of the model's
 * classes in its order, whether or not a frame shows them: a region's index and its id are the
 * class index. GStreamer 1.28's segmentationoverlay relies on that: it takes pixels for indices.
 * Unknown pixels (255) are in no region. */
static void start_metadata(GstFcn *self, gboolean metadata) {
    const uint32_t classes = fcn_segmenter_class_count(self->segmenter);

    self->metadata = metadata;
    if (!metadata) return;
    for (uint32_t index = 0; index < classes; index++) {
        self->region_ids[index] = index;
        self->class_names[index] = g_quark_from_string(fcn_segmenter_class_name(self->segmenter, index));
        /* Undefined: a region of a semantic segmentation has no confidence of its own. */
        self->confidences[index] = -1;
    }
}

/* Frames that still have masks of the pool keep it alive. */
static void free_masks(GstFcn *self) {
    if (self->masks != NULL) gst_buffer_pool_set_active(self->masks, FALSE);
    gst_clear_object(&self->masks);
}

/* Makes a pool of masks of the frames' size: they are allocated for the first frames only. */
static gboolean gst_fcn_set_info(GstVideoFilter *filter, GstCaps *in_caps, GstVideoInfo *in, GstCaps *out_caps,
                                 GstVideoInfo *out) {
    GstFcn *self = GST_FCN(filter);
    GstStructure *config;
    GstCaps *caps;

    (void)in_caps, (void)out_caps, (void)out;
    free_masks(self);
    if (!self->metadata) return TRUE;
    if (!gst_video_info_set_format(&self->mask_info, GST_VIDEO_FORMAT_GRAY8, (guint)GST_VIDEO_INFO_WIDTH(in),
                                   (guint)GST_VIDEO_INFO_HEIGHT(in)))
        return FALSE;
    caps = gst_video_info_to_caps(&self->mask_info);
    self->masks = gst_video_buffer_pool_new();
    config = gst_buffer_pool_get_config(self->masks);
    gst_buffer_pool_config_set_params(config, caps, (guint)GST_VIDEO_INFO_SIZE(&self->mask_info), 0, 0);
    /* GstAnalyticsSegmentationMtd requires a GstVideoMeta. */
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    gst_caps_unref(caps);
    return gst_buffer_pool_set_config(self->masks, config) && gst_buffer_pool_set_active(self->masks, TRUE);
}

#endif

/* Loads the model before the first frame, so that a bad one stops the pipeline at once. */
static gboolean gst_fcn_start(GstBaseTransform *transform) {
    GstFcn *self = GST_FCN(transform);
    fcn_options *options = fcn_options_new();
    fcn_status status;
    settings now;
    gchar *model;

    GST_OBJECT_LOCK(self);
    now = self->settings;
    model = g_strdup(now.model);
    GST_OBJECT_UNLOCK(self);
    self->output = (output_mode)now.output;
    gst_base_transform_set_in_place(transform, self->output == OUTPUT_OVERLAY);

    status = fcn_options_set_provider(options, now.provider);
    if (status == FCN_OK) status = fcn_options_set_precision(options, now.precision);
    if (status == FCN_OK) status = fcn_options_set_threads(options, now.threads);
    if (status == FCN_OK) status = set_size(options, &now);
    if (model == NULL) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("Set the property \"model\" to an ONNX file"), (NULL));
        status = FCN_ERROR_NULL_ARGUMENT;
    } else if (now.size_mode != SIZE_RESIZE && now.size_mode != SIZE_TILE && (now.width > 0 || now.height > 0)) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS,
                          ("The properties \"width\" and \"height\" need size-mode=resize or size-mode=tile"), (NULL));
        status = FCN_ERROR_INVALID_ARGUMENT;
    } else if (now.size_mode != SIZE_SHORT_SIDE && now.short_side > 0) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("The property \"short-side\" needs size-mode=short-side"), (NULL));
        status = FCN_ERROR_INVALID_ARGUMENT;
    } else {
        if (status == FCN_OK) status = fcn_create(model, options, &self->segmenter);
        if (status != FCN_OK)
            GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("The model cannot be used: %s", fcn_last_error()), (NULL));
    }
    fcn_options_free(options);
    g_free(model);
    if (status == FCN_OK) {
        self->mask = fcn_mask_new();
        self->background = fcn_segmenter_background(self->segmenter);
#ifdef HAVE_GST_ANALYTICS
        start_metadata(self, now.metadata);
#endif
    }
    return status == FCN_OK;
}

static gboolean gst_fcn_stop(GstBaseTransform *transform) {
    GstFcn *self = GST_FCN(transform);
    g_clear_pointer(&self->outlined, g_free);
    self->capacity = 0;
#ifdef HAVE_GST_ANALYTICS
    free_masks(self);
#endif
    g_clear_pointer(&self->mask, fcn_mask_free);
    g_clear_pointer(&self->segmenter, fcn_free);
    return TRUE;
}

/* The caps on the other side: the same in overlay mode; GRAY8 of the same size for any format in
 * labels mode. */
static GstCaps *gst_fcn_transform_caps(GstBaseTransform *transform, GstPadDirection direction, GstCaps *caps,
                                       GstCaps *filter) {
    GstFcn *self = GST_FCN(transform);
    GstCaps *other = gst_caps_copy(caps), *result;
    gint output;

    GST_OBJECT_LOCK(self);
    output = self->settings.output;
    GST_OBJECT_UNLOCK(self);
    if (output == OUTPUT_OVERLAY) {
        GstCaps *drawn = gst_caps_from_string(GST_VIDEO_CAPS_MAKE("{ " DRAWN " }"));
        result = gst_caps_intersect_full(other, drawn, GST_CAPS_INTERSECT_FIRST);
        gst_caps_unref(drawn);
        gst_caps_unref(other);
        other = result;
    } else {
        for (guint index = 0; index < gst_caps_get_size(other); index++) {
            GstStructure *structure = gst_caps_get_structure(other, index);
            gst_structure_remove_fields(structure, "format", "colorimetry", "chroma-site", NULL);
            if (direction == GST_PAD_SINK) gst_structure_set(structure, "format", G_TYPE_STRING, "GRAY8", NULL);
        }
    }
    if (filter != NULL) {
        result = gst_caps_intersect_full(filter, other, GST_CAPS_INTERSECT_FIRST);
        gst_caps_unref(other);
        other = result;
    }
    return other;
}

/* The base class has mapped the buffer, so pointers and strides are those of its GstVideoMeta. */
static fcn_status describe(const GstVideoFrame *video, fcn_frame *frame) {
    const GstVideoColorimetry *color = &video->info.colorimetry;

    frame->width = (uint32_t)GST_VIDEO_FRAME_WIDTH(video);
    frame->height = (uint32_t)GST_VIDEO_FRAME_HEIGHT(video);
    frame->matrix = color->matrix == GST_VIDEO_COLOR_MATRIX_BT709 ? FCN_MATRIX_BT709 : FCN_MATRIX_BT601;
    frame->range = color->range == GST_VIDEO_COLOR_RANGE_0_255 ? FCN_RANGE_FULL : FCN_RANGE_LIMITED;
    for (guint plane = 0; plane < GST_VIDEO_FRAME_N_PLANES(video); plane++) {
        frame->planes[plane] = GST_VIDEO_FRAME_PLANE_DATA(video, plane);
        /* A negative stride becomes a huge one, which libfcn rejects. */
        frame->strides[plane] = (size_t)GST_VIDEO_FRAME_PLANE_STRIDE(video, plane);
    }
    return fcn_format_from_name(gst_video_format_to_string(GST_VIDEO_FRAME_FORMAT(video)), &frame->format);
}

/* A class colour as the video's Y, Cb and Cr. In full range, the chroma of pure blue and red is
 * 255.5. */
static void yuv_of(const GstVideoFrame *video, const uint8_t *rgb, gdouble *yuv) {
    gint offset[GST_VIDEO_MAX_COMPONENTS], scale[GST_VIDEO_MAX_COMPONENTS];
    gdouble kr = 0.299, kb = 0.114, y;

    gst_video_color_matrix_get_Kr_Kb(video->info.colorimetry.matrix, &kr, &kb);
    gst_video_color_range_offsets(video->info.colorimetry.range, video->info.finfo, offset, scale);
    y = (kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]) / 255;
    yuv[0] = offset[0] + scale[0] * y;
    yuv[1] = offset[1] + scale[1] * (rgb[2] / 255.0 - y) / (2 * (1 - kb));
    yuv[2] = offset[2] + scale[2] * (rgb[0] / 255.0 - y) / (2 * (1 - kr));
    for (guint component = 0; component < 3; component++) yuv[component] = CLAMP(yuv[component], 0, 255);
}

/* Marks the pixels with another label within `reach` pixels to the left, right, top or bottom:
 * those within `reach` of a step from one label to the next, which are few. */
static void mark_outlines(const uint8_t *labels, gsize width, gsize height, gsize reach, uint8_t *marks) {
    memset(marks, 0, width * height);
    if (reach == 0) return;
    for (gsize y = 0; y < height; y++) {
        const uint8_t *row = labels + y * width, *next = row + width;
        for (gsize x = 1; x < width; x++) {
            if (row[x - 1] != row[x]) {
                gsize first = x - MIN(x, reach), end = MIN(x + reach, width);
                memset(marks + y * width + first, 1, end - first);
            }
        }
        if (y + 1 == height || memcmp(row, next, width) == 0) continue;
        for (gsize x = 0; x < width; x++) {
            if (row[x] != next[x]) {
                gsize first = y + 1 - MIN(y + 1, reach), end = MIN(y + 1 + reach, height);
                for (gsize near = first; near < end; near++) marks[near * width + x] = 1;
            }
        }
    }
}

/* What becomes of a sample: (sample * keep + add) / 65536. */
typedef struct {
    guint32 keep, add;
} blend;

/* A sample moved by a share of the way to a value. */
static blend blend_to(gdouble value, gdouble share) {
    blend to;
    to.keep = (guint32)((1 - share) * 65536 + 0.5);
    to.add = (guint32)((value * share + 0.5) * 65536);
    return to;
}

/* fcn_overlay_styled() for Y'CbCr of any plane layout: a shared sample takes the class of its
 * first pixel. */
static void overlay_yuv(GstFcn *self, gdouble alpha, gint outline, GstVideoFrame *video) {
    const uint8_t *labels = fcn_mask_labels(self->mask);
    const gsize width = (gsize)GST_VIDEO_FRAME_WIDTH(video), height = (gsize)GST_VIDEO_FRAME_HEIGHT(video);
    const GstVideoFormatInfo *info = video->info.finfo;
    const uint32_t classes = fcn_segmenter_class_count(self->segmenter);
    /* By component, part of an outline or not, label. */
    blend blends[3][2][256];

    if (width * height > self->capacity) {
        g_free(self->outlined);
        self->capacity = width * height;
        self->outlined = g_malloc(self->capacity);
    }
    mark_outlines(labels, width, height, (gsize)outline, self->outlined);
    for (guint component = 0; component < 3; component++)
        for (guint label = 0; label < 256; label++)
            blends[component][0][label] = blends[component][1][label] = blend_to(0, 0);
    for (uint32_t label = 0; label < classes; label++) {
        uint8_t rgb[3] = {0, 0, 0};
        gdouble yuv[3];
        if ((gint)label == self->background) continue;
        fcn_segmenter_class_display_color(self->segmenter, label, rgb);
        yuv_of(video, rgb, yuv);
        for (guint component = 0; component < 3; component++) {
            blends[component][0][label] = blend_to(yuv[component], alpha);
            blends[component][1][label] = blend_to(yuv[component], 1);
        }
    }
    for (guint component = 0; component < 3; component++) {
        guint8 *data = GST_VIDEO_FRAME_COMP_DATA(video, component);
        gint stride = GST_VIDEO_FRAME_COMP_STRIDE(video, component), step = GST_VIDEO_FRAME_COMP_PSTRIDE(video, component);
        guint right = GST_VIDEO_FORMAT_INFO_W_SUB(info, component), down = GST_VIDEO_FORMAT_INFO_H_SUB(info, component);
        gint columns = GST_VIDEO_FRAME_COMP_WIDTH(video, component), rows = GST_VIDEO_FRAME_COMP_HEIGHT(video, component);
        for (gint y = 0; y < rows; y++) {
            const uint8_t *row = labels + (gsize)(y << down) * width, *marks = self->outlined + (gsize)(y << down) * width;
            guint8 *sample = data + (gssize)y * stride;
            for (gint x = 0; x < columns; x++, sample += step) {
                const blend to = blends[component][marks[x << right]][row[x << right]];
                *sample = (guint8)((*sample * to.keep + to.add) >> 16);
            }
        }
    }
}

/* Labels a frame, and tells what went wrong. */
static gboolean label(GstFcn *self, const settings *now, const GstVideoFrame *video, fcn_frame *frame) {
    fcn_status status = describe(video, frame);

    if (status == FCN_OK) status = fcn_mask_set_threshold(self->mask, (float)now->threshold);
    if (status == FCN_OK) status = fcn_mask_set_smoothing(self->mask, (float)now->smoothing);
    if (status == FCN_OK) status = fcn_mask_set_min_region(self->mask, now->min_region);
    if (status == FCN_OK) status = fcn_segment(self->segmenter, frame, self->mask);
    if (status != FCN_OK)
        GST_ELEMENT_ERROR(self, STREAM, FAILED, ("The frame cannot be labelled: %s", fcn_last_error()), (NULL));
    return status == FCN_OK;
}

/* Copies the labels into a frame of their size in GRAY8. */
static void copy_labels(GstFcn *self, GstVideoFrame *out) {
    const uint8_t *labels = fcn_mask_labels(self->mask);
    const gsize width = (gsize)GST_VIDEO_FRAME_WIDTH(out);

    for (gint y = 0; y < GST_VIDEO_FRAME_HEIGHT(out); y++) {
        guint8 *row = (guint8 *)GST_VIDEO_FRAME_PLANE_DATA(out, 0) + (gssize)y * GST_VIDEO_FRAME_PLANE_STRIDE(out, 0);
        memcpy(row, labels + (gsize)y * width, width);
    }
}

#ifdef HAVE_GST_ANALYTICS

/* Attaches the labels to a buffer as a GstAnalyticsSegmentationMtd, and the names of the classes as
 * a GstAnalyticsClsMtd related to it, as GStreamer's documentation of the former describes: region
 * `i` is class `i`. */
static gboolean attach_labels(GstFcn *self, GstBuffer *buffer) {
    const gsize classes = fcn_segmenter_class_count(self->segmenter);
    const guint width = (guint)GST_VIDEO_INFO_WIDTH(&self->mask_info);
    const guint height = (guint)GST_VIDEO_INFO_HEIGHT(&self->mask_info);
    /* GStreamer's default size, and space for the classes: it need not grow. */
    GstAnalyticsRelationMetaInitParams space = {5, 1024 + classes * (sizeof(guint) + sizeof(GQuark) + sizeof(gfloat))};
    GstAnalyticsRelationMeta *relations;
    GstAnalyticsSegmentationMtd regions;
    GstAnalyticsClsMtd names;
    GstBuffer *mask = NULL;
    GstVideoFrame frame;
    gboolean attached = FALSE;

    if (gst_buffer_pool_acquire_buffer(self->masks, &mask, NULL) == GST_FLOW_OK &&
        gst_video_frame_map(&frame, &self->mask_info, mask, GST_MAP_WRITE)) {
        copy_labels(self, &frame);
        gst_video_frame_unmap(&frame);
        /* The buffer's own, if an element upstream has added one. */
        relations = gst_buffer_add_analytics_relation_meta_full(buffer, &space);
        /* Takes the mask. */
        attached = gst_analytics_relation_meta_add_segmentation_mtd(relations, mask, GST_SEGMENTATION_TYPE_SEMANTIC,
                                                                    classes, self->region_ids, 0, 0, width, height,
                                                                    &regions);
        if (attached) mask = NULL;
        /* GStreamer's documentation looks names up by RELATE_TO, its segmentationoverlay by
         * N_TO_N. */
        attached = attached &&
                   gst_analytics_relation_meta_add_cls_mtd(relations, classes, self->confidences, self->class_names,
                                                           &names) &&
                   gst_analytics_relation_meta_set_relation(
                       relations, GST_ANALYTICS_REL_TYPE_RELATE_TO | GST_ANALYTICS_REL_TYPE_N_TO_N, regions.id, names.id);
    }
    gst_clear_buffer(&mask);
    if (!attached) GST_ELEMENT_ERROR(self, STREAM, FAILED, ("The labels cannot be attached to the frame"), (NULL));
    return attached;
}

#endif

static settings current(GstFcn *self) {
    settings now;
    GST_OBJECT_LOCK(self);
    now = self->settings;
    GST_OBJECT_UNLOCK(self);
    /* The string may be freed by another thread. */
    now.model = NULL;
    return now;
}

/* Overlay mode. */
static GstFlowReturn gst_fcn_transform_frame_ip(GstVideoFilter *filter, GstVideoFrame *video) {
    GstFcn *self = GST_FCN(filter);
    const settings now = current(self);
    const gint side = MIN(GST_VIDEO_FRAME_WIDTH(video), GST_VIDEO_FRAME_HEIGHT(video));
    const gint outline = now.outline < 0 ? MIN(1 + side / 300, 64) : now.outline;
    fcn_overlay_style style = {0};
    fcn_frame frame = {0};

    if (!label(self, &now, video, &frame)) return GST_FLOW_ERROR;
#ifdef HAVE_GST_ANALYTICS
    if (self->metadata && !attach_labels(self, video->buffer)) return GST_FLOW_ERROR;
#endif
    /* Nothing is visible. */
    if (now.alpha == 0 && outline == 0) return GST_FLOW_OK;
    if (GST_VIDEO_INFO_IS_YUV(&video->info)) {
        overlay_yuv(self, now.alpha, outline, video);
        return GST_FLOW_OK;
    }
    style.alpha = (float)now.alpha;
    style.outline = (uint32_t)outline;
    if (fcn_overlay_styled(self->segmenter, self->mask, &style, frame.format, GST_VIDEO_FRAME_PLANE_DATA(video, 0),
                           frame.width, frame.height, frame.strides[0]) != FCN_OK) {
        GST_ELEMENT_ERROR(self, STREAM, FAILED, ("The overlay cannot be drawn: %s", fcn_last_error()), (NULL));
        return GST_FLOW_ERROR;
    }
    return GST_FLOW_OK;
}

/* Labels mode. */
static GstFlowReturn gst_fcn_transform_frame(GstVideoFilter *filter, GstVideoFrame *in, GstVideoFrame *out) {
    GstFcn *self = GST_FCN(filter);
    const settings now = current(self);
    fcn_frame frame = {0};

    if (!label(self, &now, in, &frame)) return GST_FLOW_ERROR;
#ifdef HAVE_GST_ANALYTICS
    if (self->metadata && !attach_labels(self, out->buffer)) return GST_FLOW_ERROR;
#endif
    copy_labels(self, out);
    return GST_FLOW_OK;
}

static void gst_fcn_finalize(GObject *object) {
    g_free(GST_FCN(object)->settings.model);
    G_OBJECT_CLASS(gst_fcn_parent_class)->finalize(object);
}

static void gst_fcn_class_init(GstFcnClass *klass) {
    GObjectClass *object = G_OBJECT_CLASS(klass);
    GstElementClass *element = GST_ELEMENT_CLASS(klass);
    /* Read when the element starts, and for each frame. */
    const GParamFlags once = (GParamFlags)(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);
    const GParamFlags live = (GParamFlags)(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_CONTROLLABLE);
    GstCaps *caps = gst_caps_from_string(GST_VIDEO_CAPS_MAKE("{ " DRAWN ", GRAY8 }"));

    gst_element_class_add_pad_template(element, gst_pad_template_new("sink", GST_PAD_SINK, GST_PAD_ALWAYS, caps));
    gst_element_class_add_pad_template(element, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps));
    gst_caps_unref(caps);
    gst_element_class_set_static_metadata(element, "FCN segmentation", "Filter/Effect/Video",
                                          "Labels each pixel of a video with a class, and draws or outputs the labels",
                                          "The fcn developers");

    object->set_property = gst_fcn_set_property;
    object->get_property = gst_fcn_get_property;
    object->finalize = gst_fcn_finalize;
    g_object_class_install_property(
        object, PROPERTY_MODEL, g_param_spec_string("model", "Model", "The ONNX file of the network; required", NULL, once));
    g_object_class_install_property(
        object, PROPERTY_PROVIDER,
        g_param_spec_enum("provider", "Provider", "Where the network runs", provider_type(), FCN_PROVIDER_AUTO, once));
    g_object_class_install_property(
        object, PROPERTY_PRECISION,
        g_param_spec_enum("precision", "Precision", "How precisely layers are computed", precision_type(),
                          FCN_PRECISION_EXACT, once));
    g_object_class_install_property(
        object, PROPERTY_THREADS,
        g_param_spec_uint("threads", "Threads", "Threads for a frame; 0: one for each CPU", 0, 256, 0, once));
    g_object_class_install_property(
        object, PROPERTY_SIZE_MODE,
        g_param_spec_enum("size-mode", "Size mode",
                          "The size at which the network sees frames; labels have the frames' size in any case",
                          size_mode_type(), SIZE_AUTO, once));
    g_object_class_install_property(
        object, PROPERTY_WIDTH,
        g_param_spec_uint("width", "Width", "Columns for size-mode=resize and size-mode=tile", 0, 32767, 0, once));
    g_object_class_install_property(
        object, PROPERTY_HEIGHT,
        g_param_spec_uint("height", "Height", "Rows for size-mode=resize and size-mode=tile", 0, 32767, 0, once));
    g_object_class_install_property(
        object, PROPERTY_SHORT_SIDE,
        g_param_spec_uint("short-side", "Short side",
                          "Pixels of the shorter side, which size-mode=short-side needs", 0, 32767, 0, once));
    g_object_class_install_property(
        object, PROPERTY_OVERLAP,
        g_param_spec_uint("overlap", "Overlap", "Columns and rows that tiles share at least", 0, 32766, 32, once));
    g_object_class_install_property(
        object, PROPERTY_THRESHOLD,
        g_param_spec_double("threshold", "Threshold",
                            "Pixels of a lower confidence are unknown: not drawn, or label 255; 0: none", 0, 1, 0, live));
    g_object_class_install_property(
        object, PROPERTY_SMOOTHING,
        g_param_spec_double("smoothing", "Smoothing",
                            "Share of the newest frame in the average of scores over frames; 1: no average", 0.001, 1, 1,
                            live));
    g_object_class_install_property(
        object, PROPERTY_MIN_REGION,
        g_param_spec_uint("min-region", "Least region",
                          "Regions of fewer pixels take the label around them; 0: all remain", 0, G_MAXUINT, 0, live));
    g_object_class_install_property(
        object, PROPERTY_OUTPUT,
        g_param_spec_enum("output", "Output", "What the source pad gives", output_type(), OUTPUT_OVERLAY, once));
    g_object_class_install_property(
        object, PROPERTY_ALPHA,
        g_param_spec_double("alpha", "Alpha", "Opacity of class colours: 0 shows the video, 1 the colours", 0, 1, 0.4,
                            live));
    g_object_class_install_property(
        object, PROPERTY_OUTLINE,
        g_param_spec_int("outline", "Outline",
                         "Width of the classes' opaque outlines in pixels; -1: 1, and 1 more per 300 pixels of the "
                         "shorter side",
                         -1, 64, -1, live));
#ifdef HAVE_GST_ANALYTICS
    g_object_class_install_property(
        object, PROPERTY_METADATA,
        g_param_spec_boolean("metadata", "Metadata",
                             "Attach the labels (GstAnalyticsSegmentationMtd) and the names of the classes "
                             "(GstAnalyticsClsMtd) to each buffer",
                             FALSE, once));
    GST_VIDEO_FILTER_CLASS(klass)->set_info = gst_fcn_set_info;
#endif

    GST_BASE_TRANSFORM_CLASS(klass)->start = gst_fcn_start;
    GST_BASE_TRANSFORM_CLASS(klass)->stop = gst_fcn_stop;
    GST_BASE_TRANSFORM_CLASS(klass)->transform_caps = gst_fcn_transform_caps;
    GST_VIDEO_FILTER_CLASS(klass)->transform_frame_ip = gst_fcn_transform_frame_ip;
    GST_VIDEO_FILTER_CLASS(klass)->transform_frame = gst_fcn_transform_frame;
}

static void gst_fcn_init(GstFcn *self) {
    self->settings.provider = FCN_PROVIDER_AUTO;
    self->settings.precision = FCN_PRECISION_EXACT;
    self->settings.overlap = 32;
    self->settings.alpha = 0.4;
    self->settings.smoothing = 1;
    self->settings.outline = -1;
}

static gboolean plugin_init(GstPlugin *plugin) {
    return gst_element_register(plugin, "fcn", GST_RANK_NONE, gst_fcn_get_type());
}

#define PACKAGE "fcn"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, fcn, "FCN segmentation of video", plugin_init, FCN_VERSION,
                  "MIT/X11", "fcn", "fcn")
