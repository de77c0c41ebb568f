// Xen's own headers, as C++ can have them, and one call that they leave out though the library exports it.
#pragma once
#include <inttypes.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
#include <xenctrl.h>
#include <xenforeignmemory.h>
#include <xenguest.h>
#include <xenstore.h>

#include <xen/grant_table.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
int xc_get_pfn_type_batch(xc_interface* xch, uint32_t dom, unsigned int num, xen_pfn_t* types);
}

// The control interface has no stability: what is built against one version must not talk to another.
#if XEN_DOMCTL_INTERFACE_VERSION != 0x15
#error "these are not the headers of Xen 4.17 (Debian 12 and Ubuntu 24.04: libxen-dev); other versions are not supported yet"
#endif
