# socketserver/handler.tcl --
#
#   Calls a handler, in the workers of both interfaces.

# socketserver::CallHandler handlerCmd connection number --
#
#   The connection is what the handler gets, its channel first, and has this number
#   (unix_sockets::Track). A handler that fails loses its connection, not its worker.
#   Returns whether it did well.

proc socketserver::CallHandler {handlerCmd connection number} {
    set code [catch {uplevel #0 [list {*}$handlerCmd {*}$connection]} message failure]
    if {$code in {0 2}} {
        return 1
    }
    HandlerFailed $handlerCmd $code $message $failure
    if {[unix_sockets::Tracked $number]} {
        catch {close [lindex $connection 0]}
    }
    return 0
}

proc socketserver::HandlerFailed {handlerCmd code message failure} {
    if {$code != 1} {
        set message "handler \"[lindex $handlerCmd 0]\" ended with code $code"
    }
    Report $message $failure
}

# socketserver::Report message failure --
#
#   Has an error that nobody waits for reach the background error handler.

proc socketserver::Report {message failure} {
    after 0 [list ::socketserver::Rethrow $message $failure]
}

proc socketserver::Rethrow {message failure} {
    return -options [dict merge $failure {-code error -level 0}] $message
}
