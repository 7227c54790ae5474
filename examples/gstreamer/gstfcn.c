/* fcn: a GStreamer element that labels video frames and blends class colours into them, in place.
 *
 *     cc -shared -fPIC gstfcn.c -o libgstfcn.so \
 *         $(pkg-config --cflags --libs fcn gstreamer-video-1.0)
 *     export GST_PLUGIN_PATH=$PWD
 *     gst-launch-1.0 v4l2src ! fcn model=animals.onnx ! videoconvert ! autovideosink
 *     gst-launch-1.0 filesrc location=cat.mp4 ! decodebin ! fcn model=animals.onnx width=480 \
 *         height=320 ! x264enc ! mp4mux ! filesink location=labelled.mp4
 *
 * Programs use it by name in gst_parse_launch() or gst_element_factory_make(). The base class
 * handles caps, EOS, flushes and quality of service: with a synchronised sink, late frames are
 * dropped before they are labelled. */

#include <fcn.h>
#include <gst/gst.h>
#include <gst/video/gstvideofilter.h>
#include <gst/video/video.h>

#define FORMATS "{ NV12, NV21, I420, YUY2, UYVY, RGB, BGR, RGBx, BGRx, RGBA, BGRA }"

G_DECLARE_FINAL_TYPE(GstFcn, gst_fcn, GST, FCN, GstVideoFilter)

struct _GstFcn {
    GstVideoFilter parent;
    /* Properties, guarded by the object lock. */
    gchar *model;
    gdouble alpha;
    gint outline;
    guint width, height, threads;
    /* Valid from start to stop; only the streaming thread uses the mask. */
    fcn_segmenter *segmenter;
    fcn_mask *mask;
    /* The class that is not drawn; -1 for none. */
    gint background;
};

G_DEFINE_TYPE(GstFcn, gst_fcn, GST_TYPE_VIDEO_FILTER)

enum { PROPERTY_MODEL = 1, PROPERTY_ALPHA, PROPERTY_OUTLINE, PROPERTY_WIDTH, PROPERTY_HEIGHT, PROPERTY_THREADS };

static void gst_fcn_set_property(GObject *object, guint property, const GValue *value, GParamSpec *spec) {
    GstFcn *self = GST_FCN(object);
    GST_OBJECT_LOCK(self);
    switch (property) {
    case PROPERTY_MODEL:
        g_free(self->model);
        self->model = g_value_dup_string(value);
        break;
    case PROPERTY_ALPHA: self->alpha = g_value_get_double(value); break;
    case PROPERTY_OUTLINE: self->outline = g_value_get_int(value); break;
    case PROPERTY_WIDTH: self->width = g_value_get_uint(value); break;
    case PROPERTY_HEIGHT: self->height = g_value_get_uint(value); break;
    case PROPERTY_THREADS: self->threads = g_value_get_uint(value); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property, spec);
    }
    GST_OBJECT_UNLOCK(self);
}

static void gst_fcn_get_property(GObject *object, guint property, GValue *value, GParamSpec *spec) {
    GstFcn *self = GST_FCN(object);
    GST_OBJECT_LOCK(self);
    switch (property) {
    case PROPERTY_MODEL: g_value_set_string(value, self->model); break;
    case PROPERTY_ALPHA: g_value_set_double(value, self->alpha); break;
    case PROPERTY_OUTLINE: g_value_set_int(value, self->outline); break;
    case PROPERTY_WIDTH: g_value_set_uint(value, self->width); break;
    case PROPERTY_HEIGHT: g_value_set_uint(value, self->height); break;
    case PROPERTY_THREADS: g_value_set_uint(value, self->threads); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property, spec);
    }
    GST_OBJECT_UNLOCK(self);
}

/* Loads the model before the first frame, so that a bad one stops the pipeline at once. */
static gboolean gst_fcn_start(GstBaseTransform *transform) {
    GstFcn *self = GST_FCN(transform);
    fcn_options *options = fcn_options_new();
    fcn_status status;
    gchar *model;

    GST_OBJECT_LOCK(self);
    model = g_strdup(self->model);
    status = fcn_options_set_threads(options, self->threads);
    if (status == FCN_OK && (self->width > 0 || self->height > 0))
        status = fcn_options_set_resize(options, self->width, self->height);
    GST_OBJECT_UNLOCK(self);
    if (model == NULL) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("Set the property \"model\" to an ONNX file"), (NULL));
        status = FCN_ERROR_NULL_ARGUMENT;
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
    }
    return status == FCN_OK;
}

static gboolean gst_fcn_stop(GstBaseTransform *transform) {
    GstFcn *self = GST_FCN(transform);
    g_clear_pointer(&self->mask, fcn_mask_free);
    g_clear_pointer(&self->segmenter, fcn_free);
    return TRUE;
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

/* A class colour as the video's Y, Cb and Cr. */
static void yuv_of(const GstVideoFrame *video, const uint8_t *rgb, gdouble *yuv) {
    gint offset[GST_VIDEO_MAX_COMPONENTS], scale[GST_VIDEO_MAX_COMPONENTS];
    gdouble kr = 0.299, kb = 0.114, y;

    gst_video_color_matrix_get_Kr_Kb(video->info.colorimetry.matrix, &kr, &kb);
    gst_video_color_range_offsets(video->info.colorimetry.range, video->info.finfo, offset, scale);
    y = (kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]) / 255;
    yuv[0] = offset[0] + scale[0] * y;
    yuv[1] = offset[1] + scale[1] * (rgb[2] / 255.0 - y) / (2 * (1 - kb));
    yuv[2] = offset[2] + scale[2] * (rgb[0] / 255.0 - y) / (2 * (1 - kr));
}

/* Whether another label lies within `reach` pixels to the left, right, top or bottom. */
static gboolean is_border(const uint8_t *labels, gint width, gint height, gint x, gint y, gint reach) {
    const uint8_t *here = labels + (gsize)y * (gsize)width + x;

    for (gint step = 1; step <= reach; step++) {
        if (x >= step && here[-step] != *here) return TRUE;
        if (x + step < width && here[step] != *here) return TRUE;
        if (y >= step && *(here - (gssize)step * width) != *here) return TRUE;
        if (y + step < height && here[(gssize)step * width] != *here) return TRUE;
    }
    return FALSE;
}

/* fcn_overlay_styled() for Y'CbCr of any plane layout: a shared sample takes the class of its
 * first pixel. */
static void overlay_yuv(const GstFcn *self, gdouble alpha, gint outline, GstVideoFrame *video) {
    const uint8_t *labels = fcn_mask_labels(self->mask);
    const gint width = GST_VIDEO_FRAME_WIDTH(video), height = GST_VIDEO_FRAME_HEIGHT(video);
    const GstVideoFormatInfo *info = video->info.finfo;
    gdouble yuv[256][3];

    for (uint32_t index = 0; index < fcn_segmenter_class_count(self->segmenter); index++) {
        uint8_t rgb[3] = {0, 0, 0};
        fcn_segmenter_class_display_color(self->segmenter, index, rgb);
        yuv_of(video, rgb, yuv[index]);
    }
    for (guint component = 0; component < 3; component++) {
        guint8 *data = GST_VIDEO_FRAME_COMP_DATA(video, component);
        gint stride = GST_VIDEO_FRAME_COMP_STRIDE(video, component), step = GST_VIDEO_FRAME_COMP_PSTRIDE(video, component);
        guint right = GST_VIDEO_FORMAT_INFO_W_SUB(info, component), down = GST_VIDEO_FORMAT_INFO_H_SUB(info, component);
        for (gint y = 0; y < GST_VIDEO_FRAME_COMP_HEIGHT(video, component); y++) {
            const uint8_t *row = labels + (gsize)(y << down) * (gsize)width;
            for (gint x = 0; x < GST_VIDEO_FRAME_COMP_WIDTH(video, component); x++) {
                guint8 *sample = data + (gssize)y * stride + x * step;
                uint8_t label = row[x << right];
                gdouble share = alpha;
                if (label == self->background) continue;
                if (is_border(labels, width, height, x << right, y << down, outline)) share = 1;
                *sample = (guint8)(*sample + (yuv[label][component] - *sample) * share + 0.5);
            }
        }
    }
}

static GstFlowReturn gst_fcn_transform_frame_ip(GstVideoFilter *filter, GstVideoFrame *video) {
    GstFcn *self = GST_FCN(filter);
    fcn_frame frame = {0};
    fcn_overlay_style style = {0};
    fcn_status status;
    gdouble alpha;
    gint outline;

    GST_OBJECT_LOCK(self);
    alpha = self->alpha;
    outline = self->outline;
    GST_OBJECT_UNLOCK(self);
    if (outline < 0) outline = MIN(1 + MIN(GST_VIDEO_FRAME_WIDTH(video), GST_VIDEO_FRAME_HEIGHT(video)) / 300, 64);
    style.alpha = (float)alpha;
    style.outline = (uint32_t)outline;
    status = describe(video, &frame);
    if (status == FCN_OK) status = fcn_segment(self->segmenter, &frame, self->mask);
    if (status == FCN_OK && GST_VIDEO_INFO_IS_YUV(&video->info))
        overlay_yuv(self, alpha, outline, video);
    else if (status == FCN_OK)
        status = fcn_overlay_styled(self->segmenter, self->mask, &style, frame.format, GST_VIDEO_FRAME_PLANE_DATA(video, 0),
                                    frame.width, frame.height, frame.strides[0]);
    if (status != FCN_OK) {
        GST_ELEMENT_ERROR(self, STREAM, FAILED, ("The frame cannot be labelled: %s", fcn_last_error()), (NULL));
        return GST_FLOW_ERROR;
    }
    return GST_FLOW_OK;
}

static void gst_fcn_finalize(GObject *object) {
    g_free(GST_FCN(object)->model);
    G_OBJECT_CLASS(gst_fcn_parent_class)->finalize(object);
}

static void gst_fcn_class_init(GstFcnClass *klass) {
    GObjectClass *object = G_OBJECT_CLASS(klass);
    GstElementClass *element = GST_ELEMENT_CLASS(klass);
    const GParamFlags flags = (GParamFlags)(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);
    GstCaps *caps = gst_caps_from_string(GST_VIDEO_CAPS_MAKE(FORMATS));

    gst_element_class_add_pad_template(element, gst_pad_template_new("sink", GST_PAD_SINK, GST_PAD_ALWAYS, caps));
    gst_element_class_add_pad_template(element, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps));
    gst_caps_unref(caps);
    gst_element_class_set_static_metadata(element, "FCN segmentation", "Filter/Effect/Video",
                                          "Blends the colour of each pixel's class into the video", "The fcn developers");

    object->set_property = gst_fcn_set_property;
    object->get_property = gst_fcn_get_property;
    object->finalize = gst_fcn_finalize;
    g_object_class_install_property(
        object, PROPERTY_MODEL, g_param_spec_string("model", "Model", "The ONNX file of the network", NULL, flags));
    g_object_class_install_property(
        object, PROPERTY_ALPHA,
        g_param_spec_double("alpha", "Alpha", "How much of the classes' colours: 0 shows the video, 1 the colours", 0, 1,
                            0.4, (GParamFlags)(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_CONTROLLABLE)));
    g_object_class_install_property(
        object, PROPERTY_OUTLINE,
        g_param_spec_int("outline", "Outline",
                         "Width of the classes' opaque outlines in pixels; -1: 1, and 1 more per 300 pixels of the "
                         "shorter side",
                         -1, 64, -1, (GParamFlags)(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_CONTROLLABLE)));
    g_object_class_install_property(
        object, PROPERTY_WIDTH,
        g_param_spec_uint("width", "Width", "Frames are labelled at this width; 0: their own", 0, 32767, 0, flags));
    g_object_class_install_property(
        object, PROPERTY_HEIGHT,
        g_param_spec_uint("height", "Height", "Frames are labelled at this height; 0: their own", 0, 32767, 0, flags));
    g_object_class_install_property(
        object, PROPERTY_THREADS,
        g_param_spec_uint("threads", "Threads", "Threads for a frame; 0: one for each CPU", 0, 256, 0, flags));

    GST_BASE_TRANSFORM_CLASS(klass)->start = gst_fcn_start;
    GST_BASE_TRANSFORM_CLASS(klass)->stop = gst_fcn_stop;
    GST_VIDEO_FILTER_CLASS(klass)->transform_frame_ip = gst_fcn_transform_frame_ip;
}

static void gst_fcn_init(GstFcn *self) {
    self->alpha = 0.4;
    self->outline = -1;
}

static gboolean plugin_init(GstPlugin *plugin) {
    return gst_element_register(plugin, "fcn", GST_RANK_NONE, gst_fcn_get_type());
}

#define PACKAGE "fcn"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, fcn, "FCN segmentation of video", plugin_init, FCN_VERSION,
                  "MIT/X11", "fcn", "fcn")
