/* Does the kernel run QEMU's guests itself (KVM)? */
#ifndef MACHINE_KVM_H
#define MACHINE_KVM_H

#include <stdbool.h>

#include "base/err.h"

/* Tries it: that there is a /dev/kvm says little, in virtual machines above all, and that it runs some guest not that it has what QEMU wants of it. So QEMU is started with a guest
 * of two instructions. program: its path; dir: a folder for a file. Within KVM_TRY_S. false: e says why not. Call while the process has one thread. */
bool kvm_works(const char *program, const char *dir, struct err *e);

#define KVM_TRY_S 3
/* The machine that is tried, and then used. */
#define KVM_MACHINE "q35"
#define KVM_CPU "max"

#endif
