# forkserver/link.tcl --
#
#   Messages in frames, over a unix-domain socket, with descriptors.
#
# Messages, in frames of forkserver::Link, are Tcl lists:
#   caller to server   number verb argument ...
#       fork script arguments title    with the child's socket and the handles
#       share                          with a socket: one more connection
#       wait pid | waitall | kill pid signal | killall signal | children
#       eval script | stop wait timeout | stopserver
#       failed message options         from a child, about its script; no reply
#   server to caller
#       reply number result
#       failure number message options
#       exit pid status message options    message and options after an error
# The request 0 is the start: it is answered when the server is ready.

# A frame: bytes of the message, number of descriptors, the message in UTF-8.
oo::class create forkserver::Link {
    # buffer   what was read; messages before the byte `at` have been taken
    variable channel buffer at

    constructor {unixChannel} {
        set channel $unixChannel
        set buffer ""
        set at 0
        chan configure $channel -translation binary -blocking 0 -passfds 1
    }

    # Of no use to anybody: what the other end did not read so far, above all in
    # a child, whose copy of it must not be written a second time.
    destructor {
        if {[catch {::forkserver::Discard [list $channel]}]} {
            catch {close $channel}
        }
    }

    method channel {} {
        return $channel
    }

    # Waits for room only if told to.
    method send {message blocking {handles {}}} {
        set payload [encoding convertto {*}$::forkserver::encoding $message]
        if {[string length $payload] > $::forkserver::maxMessage} {
            throw {FORKSERVER WRITE} "couldn't send a message of [string length $payload] bytes:\
                the limit is $::forkserver::maxMessage"
        }
        set frame [binary format IS [string length $payload] [llength $handles]]$payload
        if {$blocking} {
            chan configure $channel -blocking 1
        }
        try {
            if {[llength $handles] > 0} {
                # So few bytes go in one piece or not at all. A message of the
                # system takes much more of the room than its bytes.
                unix_sockets::sendfd $channel $handles [string range $frame 0 1999]
                set frame [string range $frame 2000 end]
            }
            if {[string length $frame] > 0} {
                puts -nonewline $channel $frame
                flush $channel
            }
        } finally {
            if {$blocking} {
                chan configure $channel -blocking 0
            }
        }
    }

    # Waits until there is something to read, for so many milliseconds (-1: for
    # ever).
    method await {ms} {
        if {[chan pending input $channel] == 0} {
            ::forkserver::WaitReadable $channel [expr {min($ms, 1000000000)}]
        }
    }

    method fill {} {
        append buffer [read $channel 262144]
    }

    # Takes the next message: false if it is not complete yet. Throws
    # {FORKSERVER READ} for bytes that are no message, and {FORKSERVER SOCKET}
    # after a message whose descriptors found no room in this process.
    method next {messageName descriptorsName} {
        upvar 1 $messageName message $descriptorsName descriptors
        if {$at == 0 && [string length $buffer] == 0} {
            return 0 ;# as Incomplete has left it
        }
        if {[binary scan $buffer @${at}IuSu length count] < 2} {
            return [my Incomplete]
        }
        if {$length > $::forkserver::maxMessage} {
            throw {FORKSERVER READ} "message is too long: $length bytes"
        }
        set end [expr {$at + 6 + $length}]
        if {[string length $buffer] < $end} {
            return [my Incomplete]
        }
        set payload [string range $buffer $at+6 $end-1]
        set at $end
        set message [encoding convertfrom {*}$::forkserver::encoding $payload]
        set descriptors [my Descriptors $count]
        return 1
    }

    # Descriptors come with the first byte of their message. More of them than
    # that would only fill the table of this process.
    method Incomplete {} {
        set buffer [string range $buffer $at end]
        set at 0
        if {[chan pending input $channel] == 0 &&
            [::forkserver::Held $channel] > ([string length $buffer] > 0)} {
            throw {FORKSERVER READ} "descriptors came without a message"
        }
        return 0
    }

    method Descriptors {count} {
        if {$count == 0} {
            return {}
        }
        try {
            set descriptors [unix_sockets::recvfd -raw $channel]
        } trap {UNIX_SOCKETS TRUNCATED} {message failure} {
            throw [list FORKSERVER SOCKET {*}[dict get $failure -errorcode]] $message
        }
        if {[llength $descriptors] != $count} {
            ::forkserver::CloseAll $descriptors
            throw {FORKSERVER READ} "message came without its descriptors"
        }
        return $descriptors
    }

    method ended {} {
        eof $channel
    }

    method unread {} {
        chan pending output $channel
    }
}
