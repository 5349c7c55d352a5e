# forkserver::Link in this process: frames that are right, wrong, cut and in pieces, with
# and without the descriptors that they promise.
#
# Steps: 0 bytes as they are; 1 to 8 a frame of these bytes, with up to 253 descriptors;
# 9 with more than there may be; 10 with others than it says.

source [file join [file dirname [file normalize [info script]]] harness.tcl]

# Puts in pieces that the socket has room for, each of which is read at once.
proc send {channel kind bytes script} {
    set count [lindex {0 0 1 2 3 7 8 100 253 254 1} $kind]
    if {$kind > 0} {
        set told [expr {$kind == 10 ? 3 : $count}]
        set bytes [binary format IS [string length $bytes] $told]$bytes
    }
    if {$count > 0 && ![catch {
        unix_sockets::sendfd $channel [fuzz::handles $count] [string range $bytes 0 1999]
    }]} {
        set bytes [string range $bytes 2000 end]
    }
    while {$bytes ne ""} {
        puts -nonewline $channel [string range $bytes 0 29999]
        flush $channel
        set bytes [string range $bytes 30000 end]
        uplevel 1 $script
    }
    uplevel 1 $script
}

# Appends to the variable. False once the link is of no more use.
proc take {link messagesName} {
    upvar 1 $messagesName messages
    try {
        $link fill
        while {[$link next message descriptors]} {
            foreach fd $descriptors {
                fuzz::require [file exists /proc/self/fd/$fd] "what comes is open"
            }
            forkserver::CloseAll $descriptors
            lappend messages $message
        }
    } trap {FORKSERVER READ} {} {
        return 0
    }
    return 1
}

proc decoded {bytes} {
    return [encoding convertfrom {*}$::forkserver::encoding $bytes]
}

proc tryFrames {input} {
    set before [descriptors]
    lassign [unix_sockets::pair] mine theirs
    set link [forkserver::Link new $theirs]
    chan configure $mine -translation binary
    set messages {}
    set expected {}
    set isRight 1
    set alive 1
    foreach {kind bytes} $input {
        set kind [expr {$kind % 11}]
        set isRight [expr {$isRight && $kind in {1 2 3 4 5 6 7 8}}]
        if {$isRight} {
            lappend expected [decoded $bytes]
        }
        send $mine $kind $bytes {
            set alive [expr {$alive && [take $link messages]}]
        }
        if {!$alive} {
            break
        }
    }
    close $mine
    $link destroy
    fuzz::require [expr {!$isRight || $alive && $messages eq $expected}] "right frames come"
    set right [lrange $messages 0 [llength $expected]-1]
    fuzz::require [expr {$right eq $expected}] "wrong ones spoil none before them"
    fuzz::require [expr {[dict size [descriptors]] == [dict size $before]}] "all is closed"
}

fuzz::handles 1
fuzz::run [list \
    [list 1 {1 children}] \
    [list 1 {1 wait 123} 1 {2 waitall} 1 "3 eval {expr {1 + 1}}"] \
    [list 2 {1 fork {puts hello} {a b} title} 1 {2 kill 5 SIGTERM}] \
    [list 3 {1 share} 8 many 4 three] \
    [list 0 [fuzz::frame {1 stop 1 1000}] 0 [string range [fuzz::frame {2 wait 7}] 0 4]] \
    [list 1 "" 1 [string repeat x 100000]] \
    [list 5 {reply 1 {}} 1 "failure 2 \u00e9 {-errorcode NONE}" 1 {exit 12 {exit 0}}] \
    [list 10 {1 share} 1 after] [list 9 {1 share} 1 after] [list 0 [fuzz::frame x 2] 1 after]
] [list [fuzz::frame {1 children}] [fuzz::frame x 1] [fuzz::frame {} 253]] tryFrames
