# channels.tcl --
#
#   Bytes over Tcl's channels, for bench/channels.tcl:
#
#     channels.tcl KIND bulk SIZE SECONDS     blocks of SIZE bytes to another process
#     channels.tcl KIND trips SIZE SECONDS    SIZE bytes to another process and back
#     channels.tcl KIND serve PATH SIZE       sends back what clients send, by events,
#                                             until standard input ends
#     channels.tcl null layer SIZE SECONDS    microseconds that Tcl itself takes to write
#                                             and to read SIZE bytes: to /dev/null, from
#                                             /dev/zero
#
#   KIND: unix (channels of this project), epoll (the same, with the event notifier of
#   this project), tcp (Tcl's own sockets, on the loopback). Does and says the same as
#   programs/channels.cpp. Of a channel's settings only those are changed that any
#   program changes: binary, and not blocking where there are events.

source [file join [file dirname [file normalize [info script]]] pair.tcl]

# It begins anew after 65536 bytes. Bytes, not characters: to compare these is quick.
proc pattern {size} {
    set bytes {}
    for {set i 0} {$i < min($size, 65536)} {incr i} {
        lappend bytes [expr {($i * 7 + $i / 256) & 255}]
    }
    set repeated [string repeat [binary format c* $bytes] [expr {max(1, $size / 65536)}]]
    return [binary format a* $repeated]
}

# Two connected channels.
proc ends {kind} {
    if {$kind ne "tcp"} {
        return [unix_sockets::pair]
    }
    set server [socket -server {apply {{channel args} {set ::accepted $channel}}} \
        -myaddr 127.0.0.1 0]
    set client [socket 127.0.0.1 [lindex [chan configure $server -sockname] 2]]
    vwait ::accepted
    close $server
    return [list $client $::accepted]
}

# ---- one direction -------------------------------------------------------------------

proc readBlocks {size channel} {
    set expected [pattern $size]
    set received 0
    for {set blocks 0} {1} {incr blocks} {
        set block [read $channel $size]
        incr received [string length $block]
        if {[string length $block] < $size} {
            return $received
        }
        if {$blocks % 64 == 0 && $block ne $expected} {
            error "a block has changed on its way"
        }
    }
}

proc bulk {kind size seconds} {
    set block [pattern $size]
    set channel [withChild [ends $kind] [list readBlocks $size]]
    set cpu [cpu]
    set began [now]
    for {set sent 0} {[now] < $began + $seconds} {incr sent $size} {
        puts -nonewline $channel $block
    }
    set childCpu [ask $channel $sent]
    puts "bytes $sent seconds [expr {[now] - $began}] cpu [expr {[cpu] - $cpu + $childCpu}]"
}

# ---- there and back ------------------------------------------------------------------

proc echo {size channel} {
    for {set count 0} {[string length [set piece [read $channel $size]]] == $size} {incr count} {
        puts -nonewline $channel $piece
        flush $channel
    }
    return $count
}

proc trips {kind size seconds} {
    set piece [pattern $size]
    set channel [withChild [ends $kind] [list echo $size]]
    set count 0
    set cpu [cpu]
    set began [now]
    for {set ended $began} {$ended < $began + $seconds} {set ended [now]} {
        puts -nonewline $channel $piece
        flush $channel
        if {[read $channel $size] ne $piece} {
            error "what came back is not what was sent"
        }
        incr count
    }
    set childCpu [ask $channel $count]
    puts "trips $count seconds [expr {$ended - $began}] cpu [expr {[cpu] - $cpu + $childCpu}]"
}

# ---- many clients --------------------------------------------------------------------

proc accepted {size channel args} {
    chan configure $channel -translation binary -blocking 0
    chan event $channel readable [list answer $size $channel]
}

proc answer {size channel} {
    set piece [read $channel $size]
    if {[eof $channel]} {
        close $channel
        return
    }
    puts -nonewline $channel $piece
    flush $channel
}

proc serve {kind path size} {
    if {$kind eq "epoll"} {
        unix_process::notifier epoll
    }
    if {$kind eq "tcp"} {
        set server [socket -server [list accepted $size] -myaddr 127.0.0.1 0]
        set path [lindex [chan configure $server -sockname] 2]
    } else {
        unix_sockets::listen $path [list accepted $size]
    }
    announce $path {}
    awaitEnd
}

# ---- Tcl alone -----------------------------------------------------------------------

# Microseconds that a procedure takes for one block.
proc timeBlocks {command seconds} {
    set began [now]
    for {set blocks 0} {[now] < $began + $seconds} {incr blocks 100} {
        {*}$command 100
    }
    return [expr {([now] - $began) * 1e6 / $blocks}]
}

proc putBlocks {channel block count} {
    for {set i 0} {$i < $count} {incr i} {
        puts -nonewline $channel $block
        flush $channel
    }
}

proc takeBlocks {channel size count} {
    for {set i 0} {$i < $count} {incr i} {
        set block [read $channel $size]
    }
}

# With the buffer size that makes one call of the driver of each block, as sockets have it.
proc layer {- size seconds} {
    set null [open /dev/null wb]
    set zero [open /dev/zero rb]
    chan configure $null -buffersize 65536
    chan configure $zero -buffersize $size
    puts "put [timeBlocks [list putBlocks $null [pattern $size]] [expr {$seconds / 2.0}]]\
        read [timeBlocks [list takeBlocks $zero $size] [expr {$seconds / 2.0}]]"
}

set arguments [lassign $argv kind mode]
$mode $kind {*}$arguments
