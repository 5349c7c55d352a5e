# How critcl builds the shared library. build.tcl passes what varies:
#   UDS_CFLAGS     more compiler flags (sanitizers, -DUDS_PORTABLE)
#   UDS_LDFLAGS    more flags for the linker

package require critcl

critcl::tcl [info tclversion]
critcl::license {The authors} {BSD 2-Clause, see LICENSE}
critcl::summary {Unix-domain sockets, descriptor passing and processes}

namespace eval uds_build {
    variable here [file dirname [file normalize [info script]]]
    proc flags {name} {
        expr {[info exists ::env($name)] ? $::env($name) : ""}
    }
}

critcl::cheaders {*}[lsort [glob -directory $uds_build::here *.h]]
critcl::csources {*}[lsort [glob -directory $uds_build::here *.cpp]]
critcl::cflags -O2 -g -fno-exceptions -fvisibility=hidden {*}[uds_build::flags UDS_CFLAGS]
critcl::clibraries {*}[uds_build::flags UDS_LDFLAGS] -lstdc++ -lpthread

critcl::ccode {
    extern int udsInit(Tcl_Interp *interp);
}
critcl::cinit {
    if (udsInit(ip) != TCL_OK) {
        return TCL_ERROR;
    }
} {
    extern int udsInit(Tcl_Interp *interp);
}

package provide uds 1.0
