# socketserver --
#
#   A parent accepts connections with Tcl events and passes each one to a
#   forked worker, whose handler gets an ordinary channel. The manual is
#   man/socketserver.man.
#
#   Two interfaces: socketserver::socket for programs that fork their workers
#   themselves (socket.tcl), and the class socketserver::pool, which keeps a number
#   of workers running. Common to both are acceptor.tcl, the parent's way from the
#   listeners to the queue, and handler.tcl, the worker's to the handler. The pool:
#
#     parent        pool.tcl and pool/: supervises, with table.tcl and backoff.tcl
#                   listeners.tcl, bucket.tcl: what is accepted
#                   control.tcl, health.tcl, status.tcl, report.tcl, log.tcl: for its operator
#                   systemd.tcl: for the service manager
#                   takeover.tcl: a new program in place of this one
#     fork server   generation.tcl: one for each load of the application, app.tcl
#     workers       worker.tcl: take from the queue, call the handler; proxy.tcl
#
#   What the pool can be told is in options.tcl and commands.tcl; nearest.tcl knows what
#   was meant by a wrong name. program/ is the command line, which bin/socketserver loads.

package require Tcl 8.6-
package require TclOO
package require unix_sockets
package require unix_process
package require forkserver

namespace eval socketserver {
    namespace export {[a-z]*}
}

foreach part {
    nearest handler acceptor socket
    options log bucket backoff table listeners app generation proxy worker
    report lines commands http control health status systemd takeover
    pool pool/start pool/crew pool/workers pool/renewal pool/operation pool/statistics
} {
    source [file join [file dirname [info script]] socketserver $part.tcl]
}
unset part
