# What the pools of the soak serve. A request is a line:
#
#   one SIZE CRC        with so many bytes behind it: their CRC in a line, the bytes, the end
#   echo SIZE CRC       the same, and the next request may follow
#   all                 the bytes up to the client's end: the same answer
#   copy                everything that follows comes back as it comes
#   put SIZE            so many bytes: their CRC
#   get START SIZE      a range of the file of noise: its CRC and the bytes
#   take files N        "go", then the client sends so many open files: their CRCs
#   take pipe START SIZE    "go", then the client sends a pipe, which gets the range; "done"
#   take socket         "go", then the client sends a socket, on which it may ask; "done"
#   give file|pipe START SIZE|socket|connection
#                       sends such a descriptor, with the range or with somebody who answers
#   hand                another worker serves what follows "here"
#   adopt               for `hand`: "go", then a connection is sent
#
# Anything else is answered "bad", and the end. The same procedures serve blocking
# channels and, in coroutines, those that wait with events.
#
# The variables noisePath, adopterPath (a unix socket) and adopterPort are set before.

namespace eval soak {
    variable clients 0
    # Bytes that are read or written at a time.
    variable chunk 65536
}

# ---- handlers ------------------------------------------------------------------------

proc soak::serve {channel address port} {
    Session $channel
}

# Gives some of the connections to another worker first.
proc soak::serveSome {channel address port} {
    if {rand() < 0.02} {
        socketserver::worker redeliver $channel
    } else {
        Session $channel
    }
}

proc soak::serveEvents {channel address port} {
    variable clients
    chan configure $channel -blocking 0
    coroutine client[incr clients] [namespace current]::Session $channel
}

# Serves it until the client has enough. Clients may go at any moment.
proc soak::Session {channel} {
    chan configure $channel -translation binary
    try {
        while {[set words [Request $channel]] ne "" && [Answer $channel {*}$words]} {}
    } trap {SOAK GONE} {} {
    } trap {POSIX ECONNRESET} {} {
    } trap {POSIX EPIPE} {} {
    } finally {
        catch {close $channel}
    }
}

# Whether another request may follow.
proc soak::Answer {channel verb args} {
    switch -glob -- [llength $args],$verb {
        2,echo - 2,one {
            Echo $channel {*}$args
            return [expr {$verb eq "echo"}]
        }
        0,all {
            set bytes [Rest $channel]
            Send $channel "[zlib crc32 $bytes]\n$bytes"
        }
        0,copy {
            Copy $channel $channel
        }
        1,put {
            Send $channel "[Sum $channel [lindex $args 0]]\n"
        }
        2,get {
            SendRange $channel {*}$args
        }
        ?,take {
            return [Take $channel {*}$args]
        }
        ?,give {
            return [Give $channel {*}$args]
        }
        0,hand {
            Hand $channel
        }
        0,adopt {
            Session [Receive $channel]
        }
        default {
            return [Bad $channel]
        }
    }
    return 0
}

proc soak::Bad {channel} {
    Send $channel "bad\n"
    return 0
}

proc soak::Echo {channel size sum} {
    set bytes [Bytes $channel $size]
    if {[zlib crc32 $bytes] != $sum} {
        error "wrong bytes have come: $size with the sum $sum"
    }
    Send $channel "$sum\n$bytes"
}

proc soak::SendRange {channel start size} {
    variable noisePath
    set file [open $noisePath rb]
    try {
        seek $file $start
        Send $channel "[Sum $file $size]\n"
        seek $file $start
        Copy $file $channel $size
    } finally {
        close $file
    }
}

# ---- descriptors ---------------------------------------------------------------------

proc soak::Take {channel {kind ""} args} {
    switch -- [llength $args],$kind {
        1,files {
            Send $channel "[join [lmap file [Receive $channel] {FileSum $file}]]\n"
        }
        2,pipe {
            set pipe [Receive $channel]
            try {
                puts -nonewline $pipe [Range {*}$args]
            } finally {
                close $pipe
            }
            Send $channel "done\n"
        }
        0,socket {
            Talk $channel [Receive $channel]
            Send $channel "done\n"
        }
        default {
            return [Bad $channel]
        }
    }
    return 1
}

proc soak::Give {channel {kind ""} args} {
    variable adopterPort
    switch -- [llength $args],$kind {
        2,file {
            variable noisePath
            set given [open $noisePath rb]
            seek $given [lindex $args 0]
        }
        2,pipe {
            lassign [chan pipe] given writer
            chan configure $writer -translation binary
            puts -nonewline $writer [Range {*}$args]
            close $writer
        }
        0,socket {
            lassign [unix_sockets::pair] mine given
        }
        0,connection {
            set given [socket 127.0.0.1 $adopterPort]
        }
        default {
            return [Bad $channel]
        }
    }
    try {
        unix_sockets::sendfd $channel $given x
    } finally {
        close $given
    }
    if {[info exists mine]} {
        Talk $channel $mine
    }
    return 1
}

# Waits as the other channel does.
proc soak::Talk {channel other} {
    chan configure $other -blocking [chan configure $channel -blocking]
    Session $other
}

proc soak::Hand {channel} {
    variable adopterPath
    set adopter [unix_sockets::connect $adopterPath]
    try {
        chan configure $adopter -translation lf -buffering line
        puts $adopter adopt
        gets $adopter line
        Send $channel "here\n"
        unix_sockets::sendfd $adopter $channel x
    } finally {
        close $adopter
    }
}

proc soak::Receive {channel} {
    Send $channel "go\n"
    while {[set handles [unix_sockets::recvfd $channel]] eq ""} {
        WaitForMore $channel
    }
    foreach handle $handles {
        chan configure $handle -translation binary
    }
    return $handles
}

proc soak::FileSum {file} {
    try {
        return [zlib crc32 [read $file]]
    } finally {
        close $file
    }
}

proc soak::Range {start size} {
    variable noisePath
    set file [open $noisePath rb]
    try {
        seek $file $start
        return [read $file $size]
    } finally {
        close $file
    }
}

# ---- bytes ---------------------------------------------------------------------------

# The words of a request; empty at the end. Numbers are what they should be, or
# there is no such request.
proc soak::Request {channel} {
    while {[gets $channel line] < 0} {
        if {[eof $channel]} {
            return ""
        }
        WaitForMore $channel
    }
    set words [regexp -all -inline {\S+} $line]
    foreach word [lrange $words 1 end] {
        if {![regexp {^([a-z]+|0|[1-9]\d{0,9})$} $word]} {
            return bad
        }
    }
    return $words
}

proc soak::Bytes {channel size} {
    variable chunk
    set bytes ""
    while {[set missing [expr {$size - [string length $bytes]}]] > 0} {
        append bytes [Some $channel [expr {min($chunk, $missing)}]]
    }
    return $bytes
}

# The CRC of so many bytes.
proc soak::Sum {channel size} {
    variable chunk
    set sum 0
    while {$size > 0} {
        set bytes [Some $channel [expr {min($chunk, $size)}]]
        set sum [zlib crc32 $bytes $sum]
        incr size -[string length $bytes]
    }
    return $sum
}

proc soak::Some {channel most} {
    while {[set bytes [read $channel $most]] eq ""} {
        WaitForMore $channel
    }
    return $bytes
}

proc soak::Rest {channel} {
    variable chunk
    set bytes ""
    while {![eof $channel]} {
        if {[set more [read $channel $chunk]] eq "" && ![eof $channel]} {
            WaitForMore $channel
        }
        append bytes $more
    }
    return $bytes
}

proc soak::Send {channel bytes} {
    variable chunk
    for {set at 0} {$at < [string length $bytes]} {incr at $chunk} {
        puts -nonewline $channel [string range $bytes $at [expr {$at + $chunk - 1}]]
        flush $channel
        if {[chan pending output $channel] > 0} {
            Wait $channel writable
        }
    }
}

proc soak::Copy {from to {size -1}} {
    if {[info coroutine] eq ""} {
        chan copy $from $to -size $size
        return
    }
    chan copy $from $to -size $size -command [list [namespace current]::Copied [info coroutine]]
    set problem [yield]
    if {[regexp {broken pipe|connection reset} $problem]} {
        throw {SOAK GONE} $problem
    } elseif {$problem ne ""} {
        error $problem
    }
}

proc soak::Copied {coroutine size {problem ""}} {
    $coroutine $problem
}

proc soak::WaitForMore {channel} {
    if {[eof $channel]} {
        throw {SOAK GONE} "the end of $channel"
    }
    Wait $channel readable
}

proc soak::Wait {channel event} {
    if {[info coroutine] eq ""} {
        # Where a limit of silence ends a blocking call with an error: see limitSilence.
        throw {SOAK GONE} "$channel was silent"
    }
    chan event $channel $event [info coroutine]
    yield
    chan event $channel $event {}
}
