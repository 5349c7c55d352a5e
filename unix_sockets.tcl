# unix_sockets --
#
#   Unix-domain sockets as Tcl channels, and open files and sockets passed
#   between processes. The commands are written in C++, see cpp/cmd_sockets.cpp,
#   cmd_passing.cpp and cmd_queue.cpp; the manual is man/unix_sockets.man.

package require Tcl 8.6-
package require uds

namespace eval unix_sockets {
    namespace export {[a-z]*}
    namespace ensemble create
}
