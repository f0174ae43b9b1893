/*
 * The plugin that does nothing: reads its configuration to the end, and answers an ADD with one interface and
 * one address. Linked statically, so that starting it costs what starting a process costs and no more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value == NULL ? "" : value;
}

int main(void) {
  char buffer[65536];
  while (read(0, buffer, sizeof buffer) > 0) {
  }
  if (strcmp(variable("CNI_COMMAND"), "ADD") != 0) return 0;
  int length = snprintf(buffer, sizeof buffer,
                        "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"%s\",\"mac\":\"02:00:00:00:00:01\","
                        "\"sandbox\":\"%s\"}],\"ips\":[{\"address\":\"10.1.2.3/24\",\"interface\":0}],\"dns\":{}}\n",
                        variable("CNI_IFNAME"), variable("CNI_NETNS"));
  return write(1, buffer, (size_t)length) == length ? 0 : 1;
}
