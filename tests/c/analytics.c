/* Prints the labels that the GStreamer element attaches to buffers. Arguments: a file, and a
 * pipeline as gst-launch-1.0 takes it, whose sink is named "sink". For each segmentation of each
 * buffer, prints a line with the mask's size and place and a line for each region, and appends the
 * mask's rows to the file, without padding. */

#include <gst/analytics/analytics.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <stdio.h>

/* Buffers are kept until the end, as in a queue: each must have a mask of its own. */
static GstPadProbeReturn keep(GstPad *pad, GstPadProbeInfo *info, gpointer buffers) {
    (void)pad;
    g_ptr_array_add(buffers, gst_buffer_ref(GST_PAD_PROBE_INFO_BUFFER(info)));
    return GST_PAD_PROBE_OK;
}

static gboolean run(GstElement *pipeline) {
    GstBus *bus = gst_element_get_bus(pipeline);
    GstMessage *message;
    gboolean ended;

    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered(bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    ended = GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS;
    if (!ended) {
        GError *error = NULL;
        gst_message_parse_error(message, &error, NULL);
        fprintf(stderr, "%s\n", error->message);
        g_error_free(error);
    }
    gst_message_unref(message);
    gst_object_unref(bus);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    return ended;
}

/* The names of a segmentation's regions, by either relation. */
static gboolean find_names(GstAnalyticsRelationMeta *relations, guint id, GstAnalyticsClsMtd *names) {
    const GstAnalyticsMtdType type = gst_analytics_cls_mtd_get_mtd_type();
    gpointer first = NULL, second = NULL;
    GstAnalyticsMtd other;

    return gst_analytics_relation_meta_get_direct_related(relations, id, GST_ANALYTICS_REL_TYPE_RELATE_TO, type, &first,
                                                          names) &&
           gst_analytics_relation_meta_get_direct_related(relations, id, GST_ANALYTICS_REL_TYPE_N_TO_N, type, &second,
                                                          &other) &&
           names->id == other.id;
}

static gboolean print_segmentation(GstAnalyticsRelationMeta *relations, GstAnalyticsMtd segmentation, FILE *file) {
    const gsize count = gst_analytics_segmentation_mtd_get_region_count(&segmentation);
    GstAnalyticsClsMtd names;
    gint x, y;
    guint width, height;
    GstBuffer *mask = gst_analytics_segmentation_mtd_get_mask(&segmentation, &x, &y, &width, &height);
    const GstVideoMeta *video = gst_buffer_get_video_meta(mask);
    GstMapInfo map;

    if (!find_names(relations, segmentation.id, &names) || gst_analytics_cls_mtd_get_length(&names) != count ||
        video->format != GST_VIDEO_FORMAT_GRAY8 || !gst_buffer_map(mask, &map, GST_MAP_READ)) {
        gst_buffer_unref(mask);
        return FALSE;
    }
    printf("%ux%u for %ux%u at %d,%d\n", video->width, video->height, width, height, x, y);
    for (gsize index = 0; index < count; index++)
        printf("%u %s\n", gst_analytics_segmentation_mtd_get_region_id(&segmentation, index),
               g_quark_to_string(gst_analytics_cls_mtd_get_quark(&names, index)));
    for (guint row = 0; row < video->height; row++)
        fwrite(map.data + video->offset[0] + row * (gsize)video->stride[0], 1, video->width, file);
    gst_buffer_unmap(mask, &map);
    gst_buffer_unref(mask);
    return TRUE;
}

int main(int argc, char **argv) {
    GPtrArray *buffers = g_ptr_array_new_with_free_func((GDestroyNotify)gst_buffer_unref);
    GError *error = NULL;
    GstElement *pipeline, *sink;
    GstPad *pad;
    gboolean works;
    FILE *file;

    if (argc < 3) return 2;
    gst_init(NULL, NULL);
    file = fopen(argv[1], "wb");
    pipeline = gst_parse_launchv((const gchar **)(argv + 2), &error);
    if (file == NULL || error != NULL) {
        fprintf(stderr, "%s\n", error != NULL ? error->message : argv[1]);
        return 2;
    }
    sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    pad = gst_element_get_static_pad(sink, "sink");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, keep, buffers, NULL);
    gst_object_unref(pad);
    gst_object_unref(sink);

    works = run(pipeline);
    for (guint index = 0; works && index < buffers->len; index++) {
        GstAnalyticsRelationMeta *relations = gst_buffer_get_analytics_relation_meta(g_ptr_array_index(buffers, index));
        gpointer state = NULL;
        GstAnalyticsMtd segmentation;
        works = relations != NULL;
        while (works && gst_analytics_relation_meta_iterate(relations, &state, gst_analytics_segmentation_mtd_get_mtd_type(),
                                                            &segmentation))
            works = print_segmentation(relations, segmentation, file);
        if (!works) fprintf(stderr, "buffer %u has no complete metadata\n", index);
    }
    works = fclose(file) == 0 && works;
    g_ptr_array_unref(buffers);
    gst_object_unref(pipeline);
    gst_deinit();
    return works ? 0 : 1;
}
