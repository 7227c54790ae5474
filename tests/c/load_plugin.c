/* Loads a library that uses libfcn in a constructor. Argument: the library. */

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    void *plugin, *symbol;
    int (*works)(void);
    if (argc != 2) return 2;
    /* Ends a host that hangs. */
    alarm(600);
    plugin = dlopen(argv[1], RTLD_NOW);
    if (plugin == NULL) return puts(dlerror()), 1;
    symbol = dlsym(plugin, "plugin_works");
    memcpy(&works, &symbol, sizeof works);
    if (symbol == NULL || !works()) return puts("it does not work"), 1;
    puts("works");
    return 0;
}
