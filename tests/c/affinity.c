/* Prints the process's number of threads with a segmenter of default options. Argument: a
 * model. */

#include <dirent.h>
#include <fcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
    fcn_segmenter *segmenter = NULL;
    DIR *tasks;
    int count = 0;
    struct dirent *entry;
    if (argc != 2 || fcn_create(argv[1], NULL, &segmenter) != FCN_OK) return 1;
    tasks = opendir("/proc/self/task");
    if (tasks == NULL) return 1;
    while ((entry = readdir(tasks)) != NULL) count += entry->d_name[0] != '.';
    closedir(tasks);
    fcn_free(segmenter);
    printf("%d threads\n", count);
    return 0;
}
