# app.tcl --
#
#   The smallest application for the program socketserver, an echo server:
#
#     bin/socketserver examples/app.tcl
#     nc localhost 8080
#
#   Its options are defaults for the operator's:
#
#     bin/socketserver --listen 9000 --workers 2 examples/app.tcl

# Runs in a worker, once for each connection.
proc serve {client address port} {
    chan configure $client -buffering line
    while {[gets $client line] >= 0} {
        puts $client "worker [socketserver::worker id]: $line"
    }
    close $client
}

socketserver::configure -handler serve -listen 8080
