# socketserver --
#
#   A parent accepts connections with Tcl events and passes each one to a
#   forked worker, whose handler gets an ordinary channel. The manual is
#   man/socketserver.man.
#
#   Two interfaces, on the same queue: socketserver::socket for programs that fork
#   their workers themselves (socket.tcl), and the class socketserver::pool, which
#   keeps a number of workers running. A pool's processes:
#
#     parent        pool.tcl: supervises, with table.tcl, backoff.tcl, log.tcl
#                   acceptor.tcl: listeners -> queue, with listeners.tcl, bucket.tcl
#     fork server   generation.tcl: one for each load of the application, app.tcl
#     workers       worker.tcl: take from the queue, call the handler

package require Tcl 8.6-
package require TclOO
package require unix_sockets
package require unix_process
package require forkserver

namespace eval socketserver {
    namespace export {[a-z]*}
}

foreach part {
    socket
    options log bucket backoff table listeners acceptor app generation proxy worker
    report lines commands control health takeover pool
} {
    source [file join [file dirname [info script]] socketserver $part.tcl]
}
unset part
